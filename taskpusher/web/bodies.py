"""What comes in the body of a request: read within a limit, and taken apart into fields."""

import json
import logging
import re
from binascii import a2b_qp
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NoReturn
from urllib.parse import unquote

import msgspec
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from ..errors import InvalidField
from ..fields import READERS
from .problems import Problem

FORM = b"application/x-www-form-urlencoded"
MULTIPART = b"multipart/form-data"
JSON = b"application/json"
NDJSON = b"application/x-ndjson"
MOST_FIELDS = 1000
MOST_STRAYS = 10_000  # percent signs of a form that begin no escape
LONGEST_HEADER = 2048  # bytes of one that has parameters: taking those apart costs more than its length
LONG = 128 * 1024  # bytes of JSON that nothing in a job comes near, but its body
MANY = 1024 * 1024  # bytes of JSON from which on jobs are counted first: smaller ones hold few enough

_LISTED = re.compile(r"(headers|tags)\[([^\]]*)\](\[[0-9]*\])?")
_STRAY = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_quiet = logging.getLogger("taskpusher.web.multipart")
_quiet.disabled = True  # the parser warns of every form it can't read; our answer says so already
_decode = msgspec.json.Decoder().decode

# A job, and a list of jobs, looked at without building what is in their fields.
_Outline = msgspec.defstruct(
    "_Outline", [(name, msgspec.Raw, msgspec.Raw()) for name in READERS], forbid_unknown_fields=True
)
_outline = msgspec.json.Decoder(_Outline).decode


class _Entry(msgspec.Struct, gc=False):
    url: Annotated[str, msgspec.Meta(min_length=8)]


_entries = msgspec.json.Decoder(list[_Entry]).decode
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`", re.DOTALL)
_PLACE = re.compile(r"at `\$\[(\d+)\]")


async def read_body(headers: Mapping[bytes, bytes], receive: Receive, limit: int) -> bytes:
    """The whole body, of at most `limit` bytes; refused before it is read where its length is known."""
    length = headers.get(b"content-length", b"0")
    if not length.isdigit():
        raise Problem(400, "No length", "Content-Length must be a number of bytes", field="Content-Length")
    if len(length) > 18 or int(length) > limit:
        raise too_large(limit)
    for name, plain in ((b"content-encoding", b"identity"), (b"transfer-encoding", b"chunked")):
        if headers.get(name, plain).lower() != plain:
            raise Problem(415, "Compressed", "send the body uncompressed", field=name.decode().title())
    message = await receive()
    chunks, size = [], 0
    while message["type"] == "http.request":
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return chunks[0] if len(chunks) == 1 else b"".join(chunks)
        message = await receive()
    raise ClientDisconnect


def too_large(limit: int) -> Problem:
    detail = f"the body is longer than {limit} bytes; push fewer jobs at once, or less in each (--max-body)"
    return Problem(413, "Too much", detail, field="body")


def content_type(header: bytes) -> bytes:
    """The media type, in lower case. Raises Problem for a charset other than UTF-8."""
    if b";" not in header:
        return header.strip().lower()
    if len(header) > LONGEST_HEADER:
        raise Problem(415, "Another content type", "the Content-Type is too long", field="Content-Type")
    media, options = parse_options_header(header)
    charset = options.get(b"charset", b"utf-8").lower()
    if charset not in (b"utf-8", b"utf8", b"us-ascii"):
        detail = "the charset must be utf-8; convert the text, or send bytes as body_base64"
        raise Problem(415, "Another charset", detail, field="Content-Type")
    return media.strip()


def read_fields(media: bytes, header: bytes, body: bytes) -> Mapping[str, object]:
    """The fields of one job, or of one change, out of a form or a JSON object.

    `media` is the `content_type` of the header.
    """
    if media == FORM:
        return form(body)
    if media == JSON:
        return json_object(body)
    if media == MULTIPART:
        return multipart(body, header)
    if not body and not media:
        return {}
    raise wrong_type(media)


def wrong_type(media: bytes) -> Problem:
    taken = b", ".join((FORM, MULTIPART, JSON, NDJSON)).decode()
    given = f"{media[:80].decode('latin-1')} is" if media else "a body without a Content-Type is"
    return Problem(415, "Another content type", f"{given} not taken; send {taken}", field="Content-Type")


# ---- JSON ---------------------------------------------------------------------------------------------


def json_object(text: bytes, index: int | None = None) -> Mapping[str, object]:
    """The JSON object; `index` is its place in a batch. A long one is a job, or part of one."""
    if len(text) > LONG and (unknown := _sprawl(text, index)) is not None:
        return {unknown: None}  # whoever reads the fields says what it should have been
    try:
        found = _decode(text)
    except msgspec.ValidationError:  # a number beyond all bounds; its field is named when it is read
        found = _with_any_number(text, index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(error, index) from None
    if not isinstance(found, dict):
        raise _not_a_job(index)
    return found


def _sprawl(text: bytes, index: int | None) -> str | None:
    """Refuses what is far too long for a job, before it is built: ten million brackets would hold everybody
    up for seconds, and a million fields too. Returns the first field that no job has."""
    try:
        outline = _outline(text)
    except msgspec.ValidationError as error:
        if unknown := _UNKNOWN.search(str(error)):
            return unknown[1]
        raise _not_a_job(index) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(error, index) from None
    room = LONG
    for name in READERS:
        raw = memoryview(getattr(outline, name))
        room -= 0 if bytes(raw[:1]) == b'"' else len(raw)
        if room < 0:
            raise InvalidField(name, "is far too long; only body and body_base64 may be", index)
    return None


def _not_a_job(index: int | None) -> Problem:
    return Problem(422, "Not a job", "a job is a JSON object of fields", field="body", index=index)


def json_array(text: bytes, most: int) -> list[msgspec.Raw]:
    """The items of a JSON array, at most so many, not taken apart yet."""
    try:
        if len(text) > MANY and text.count(b",") >= most and (found := len(_entries(text))) > most:
            raise too_many(found, most)
        return msgspec.json.decode(text, type=list[msgspec.Raw])
    except msgspec.ValidationError as error:
        place = _PLACE.search(str(error))
        index = int(place[1]) if place else None
        detail = "a job is a JSON object with a url"
        raise Problem(422, "Not a job", detail, field="url", index=index) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _no_json(error, None) from None


def json_lines(text: bytes, most: int) -> list[bytes]:
    """The lines of NDJSON that are not empty. Counted first: an empty one is a byte here, and many there."""
    if (found := text.count(b"\n")) > most:
        raise too_many(found, most)
    return [line for line in text.split(b"\n") if line.strip()]


def too_many(found: int, most: int) -> Problem:
    detail = f"{found} jobs at once are too many; send at most {most} a request"
    return Problem(413, "Too many jobs", detail, field="body")


def _with_any_number(text: bytes, index: int | None) -> Any:
    try:
        return json.loads(text, parse_int=_whole_number, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise _no_json(error, index) from None


def _whole_number(digits: str) -> int | float:
    return int(digits) if len(digits) < 400 else float("inf")


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number in JSON")


def _no_json(error: Exception, index: int | None) -> Problem:
    if isinstance(error, RecursionError):
        reason = "it is nested too deeply; a job needs an object of fields, no deeper than its headers"
    elif isinstance(error, UnicodeDecodeError):
        reason = f"it is not UTF-8 at byte {error.start}; send bytes as body_base64"
    else:
        reason = f"{str(error)[:200]}; check it with a JSON encoder"
    return Problem(400, "No JSON", f"the body is not valid JSON: {reason}", field="body", index=index)


# ---- forms --------------------------------------------------------------------------------------------


def form(body: bytes) -> Mapping[str, object]:
    """The fields of an urlencoded form."""
    if body.count(b"&") >= MOST_FIELDS:
        raise _too_many_fields()
    if b"%" in body and _STRAY.search(body):
        body = _STRAY.sub(b"%25", body, MOST_STRAYS)
        if _STRAY.search(body):
            detail = "too many of the form's percent signs begin no escape; write them as %25"
            raise Problem(400, "No form", detail, field="body")
    pairs = []
    for name, _, value in (piece.partition(b"=") for piece in body.split(b"&") if piece):
        try:
            pairs.append((_unescaped(name), _unescaped(value)))
        except UnicodeDecodeError:
            shown = unquote(name[:300].decode("latin-1"))[:100]
            raise InvalidField(shown, "is not UTF-8; convert it, or send bytes as body_base64") from None
    return _fields(pairs)


def _unescaped(raw: bytes) -> str:
    """A name or value out of a form, of which every percent sign begins an escape. Raises UnicodeDecodeError.

    Quoted-printable differs from percent-encoding only in its sign, and its decoder is C: the standard
    library's for URLs would hold everybody up for seconds over a long body.
    """
    if b"+" in raw:
        raw = raw.replace(b"+", b" ")
    if b"%" in raw:
        raw = a2b_qp(raw.replace(b"=", b"=3D").replace(b"%", b"="))
    return raw.decode()


def _too_many_fields() -> Problem:
    return Problem(413, "Too many fields", f"a form has at most {MOST_FIELDS} fields; a job needs 18")


def _fields(pairs: Iterable[tuple[str, str | bytes]]) -> Mapping[str, object]:
    fields: dict[str, object] = {}
    for name, value in pairs:
        if name in fields or "[" in name:
            _gather(fields, name, value)
        else:
            fields[name] = value
    return fields


def _gather(fields: dict[str, Any], name: str, value: str | bytes) -> None:
    """A field that may come several times: `tags`, `tags[]`, `tags[0]`, `headers[NAME]`."""
    listed = _LISTED.fullmatch(name)
    if name == "tags" or (listed and listed[1] == "tags"):
        tags = fields.setdefault("tags", [])
        fields["tags"] = [*tags, value] if isinstance(tags, list) else [tags, value]
    elif listed:
        headers = fields.setdefault("headers", {})
        if not isinstance(headers, dict):
            raise InvalidField("headers", "stand beside headers[NAME]; send only headers[NAME]=value")
        headers.setdefault(listed[2], []).append(value)
    elif name in fields:
        raise InvalidField(name[:100], "is given twice; send it once")
    else:
        fields[name] = value


def multipart(body: bytes, header: bytes) -> Mapping[str, object]:
    """The fields of a multipart form (RFC 7578). Only the part named body may be a file."""
    parts = _Parts()
    boundary = parse_options_header(header)[1].get(b"boundary", b"")
    if not boundary:
        raise _no_form("the Content-Type names no boundary; leave that header to your HTTP library")
    try:
        parser = MultipartParser(boundary, parts.callbacks())
        parser.logger = _quiet
        parser.write(body)
        parser.finalize()
    except (FormParserError, UnicodeError) as error:
        raise _no_form(str(error)[:200]) from None
    if body and not parts.ended:
        raise _no_form("it is cut short: its last boundary is missing")
    return _fields(parts.found)


class _Parts:
    """Gathers the parts as the parser comes upon them: text, or bytes where the part is the job's body."""

    def __init__(self) -> None:
        self.found: list[tuple[str, str | bytes]] = []
        self.ended = False
        self._name = self._header = self._value = b""
        self._data = bytearray()
        self._disposition: bytes | None = None

    def callbacks(self) -> Any:
        return {
            "on_part_begin": self._begin,
            "on_part_data": lambda data, start, end: self._data.extend(data[start:end]),
            "on_part_end": self._end_part,
            "on_header_begin": self._begin_header,
            "on_header_field": self._on_field,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_end": self._end,
        }

    def _begin(self) -> None:
        if len(self.found) >= MOST_FIELDS:
            raise _too_many_fields()
        self._data, self._disposition = bytearray(), None

    def _begin_header(self) -> None:
        self._header = self._value = b""

    def _on_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value

    def _end_part(self) -> None:
        disposition = self._disposition or b""
        if len(disposition) > LONGEST_HEADER:
            raise _no_form("the Content-Disposition of a part is too long")
        options = parse_options_header(disposition)[1]
        if b"name" not in options:
            raise _no_form("a part has no name in its Content-Disposition")
        name = options[b"name"].decode("utf-8", "replace")
        if name == "body":
            self.found.append((name, bytes(self._data)))
        elif b"filename" in options:
            raise InvalidField(name[:100], "is a file; only body may be one")
        else:
            self.found.append((name, self._text(name)))

    def _text(self, name: str) -> str:
        try:
            return self._data.decode()
        except UnicodeDecodeError:
            raise InvalidField(name[:100], "is not UTF-8; convert it, or send bytes as body") from None

    def _end(self) -> None:
        self.ended = True


def _no_form(reason: str) -> Problem:
    return Problem(400, "No form", f"the multipart form can't be read: {reason}", field="body")
