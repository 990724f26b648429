"""Small parts that JSON Schemas (2020-12) are made of."""

from collections.abc import Mapping
from typing import Any

from ..fields import Line, Whole

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def text(description: str = "", **more: Any) -> Schema:
    return {"type": "string", **({"description": description} if description else {}), **more}


def number(description: str = "", **more: Any) -> Schema:
    return {"type": "number", **({"description": description} if description else {}), **more}


def count(description: str = "", **more: Any) -> Schema:
    return {"type": "integer", "minimum": 0, **({"description": description} if description else {}), **more}


def truth(description: str = "") -> Schema:
    return {"type": "boolean", **({"description": description} if description else {})}


def when(description: str = "") -> Schema:
    return text(description, format="date-time")


def listed(of: Schema, **more: Any) -> Schema:
    return {"type": "array", "items": of, **more}


def thing(properties: Mapping[str, Schema], optional: tuple[str, ...] = (), **more: Any) -> Schema:
    """An object that always has these properties, but for the optional ones."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, **more}


def or_null(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    also = {"enum": [*schema["enum"], None]} if "enum" in schema else {}
    return {**schema, "type": [schema["type"], "null"], **also}


def as_form(schema: Schema) -> Schema:
    """The same object in a form, where nothing is null and all values are text."""
    plain = {name: _not_null(one) for name, one in schema["properties"].items()}
    required = {"required": schema["required"]} if "required" in schema else {}
    words = "All values are text; `headers[NAME]=value`, `tags[]=value`." if "headers" in plain else ""
    told = {"description": words} if words else {}
    return {"type": "object", **told, "properties": plain, **required, "additionalProperties": False}


def _not_null(schema: Schema) -> Schema:
    plain = {name: value for name, value in schema.items() if name != "contentEncoding"}
    if isinstance(plain.get("type"), list):
        plain["type"] = plain["type"][0]
    if "anyOf" in plain:
        plain["anyOf"] = [one for one in plain["anyOf"] if one != {"type": "null"}]
    return plain


def checked_by(reader: object) -> Schema | None:
    """What a reader of `fields.py` takes, where it says so itself."""
    if isinstance(reader, Line):
        return {
            "type": "string",
            **({} if reader.empty else {"minLength": 1}),
            "maxLength": reader.longest,
            "pattern": r"^[^\u0000-\u001f\u007f-\u009f]*$",
        }
    if isinstance(reader, Whole):
        return {"type": "integer", "minimum": reader.least, "maximum": reader.most}
    return None
