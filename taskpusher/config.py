"""Every setting, in one table: the fields of `Settings`.

The command's options, the TASKER_* environment, the keys of the TOML file and docs/settings.md all come of
it. An option goes before the environment, that before the file, that before the default.

`python -m taskpusher.config > docs/settings.md` writes the documentation.
"""

# ruff: noqa: RUF009 - `_row` makes dataclasses.field of a table row

import dataclasses
import os
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple

from .durations import parse_duration, written_duration
from .errors import InvalidField
from .masking import MASK, masked_url
from .values import (
    Address,
    Credentials,
    StoreAddress,
    one_of,
    parse_address,
    parse_callback,
    parse_credentials,
    parse_flag,
    parse_header,
    parse_host,
    parse_proxy,
    parse_root_path,
    parse_size,
    parse_store,
    parse_success,
    parse_target,
    parse_timeout,
    positive_duration,
    whole,
)

# ---- the table ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Setting:
    """One row. A repeatable one's parser gives a tuple; `between` parts its values in the environment."""

    name: str
    parse: Callable[[str], Any]
    default: str | None
    metavar: str
    help: str
    repeatable: bool = False
    secret: bool = False
    between: str = "\n"

    @property
    def attribute(self) -> str:
        return self.name.replace("-", "_")

    @property
    def variable(self) -> str:
        return "TASKER_" + self.attribute.upper()

    @property
    def is_flag(self) -> bool:
        return self.parse is parse_flag

    def read(self, raw: object, where: str) -> Any:
        """The value of what was given at `where`. Raises InvalidField."""
        given = raw if isinstance(raw, list | tuple) else [raw]
        if len(given) != 1 and not self.repeatable:
            raise InvalidField(where, "it takes one value")
        try:
            values = [self.parse(_text(one)) for one in given]
        except ValueError as error:
            raise InvalidField(where, str(error)) from None
        return tuple(item for value in values for item in value) if self.repeatable else values[0]

    def unset(self) -> Any:
        if self.default is not None:
            return self.parse(self.default)
        return () if self.repeatable else False if self.is_flag else None


def _text(raw: object) -> str:
    """A value of a TOML file as it would be written elsewhere."""
    if not isinstance(raw, str | int | float):
        raise ValueError("it must be a text or a number, or a list where it may be repeated")
    return str(raw)


def _row(parse: Callable[[str], Any], default: str | None, metavar: str, help: str, **more: Any) -> Any:
    """A field of Settings, with all of its row but the name. Any: each has the type it is annotated with."""
    return dataclasses.field(metadata={"row": (parse, default, metavar, help, more)})


_USER = "USER:PASSWORD"
_MANY = {"repeatable": True}
_SECRETS = {"repeatable": True, "secret": True}
_LIST = {"repeatable": True, "between": ",\n"}


@dataclass(frozen=True, repr=False)
class Settings:
    """What a tasker was told. Durations are seconds, sizes bytes."""

    config: str | None = _row(str, None, "FILE", "A TOML file with settings, under the names of the options.")
    address: Address = _row(
        parse_address,
        "localhost:9900",
        "HOST:PORT",
        "Where to listen. :9900 is every interface; port 0 takes a free one.",
    )
    basicauth: tuple[Credentials, ...] = _row(
        parse_credentials,
        None,
        _USER,
        "Who may do everything. @FILE reads such lines from a file, which keeps them out of ps.",
        **_SECRETS,
    )
    basicauth_add: tuple[Credentials, ...] = _row(
        parse_credentials, None, _USER, "Who may push jobs and nothing else.", **_SECRETS
    )
    basicauth_readonly: tuple[Credentials, ...] = _row(
        parse_credentials, None, _USER, "Who may look, with bodies masked, and change nothing.", **_SECRETS
    )
    store: StoreAddress = _row(
        parse_store,
        "lmdb:tasker.db",
        "lmdb:PATH",
        "The directory that keeps the jobs. memory: keeps them as long as the process lives.",
    )
    concurrency: int = _row(whole(1, 10_000), "4", "N", "The most jobs that run at once.")
    per_host: int = _row(
        whole(0, 10_000),
        "0",
        "N",
        "The most calls to one host at once, lest a slow host take all. 0: no cap.",
    )
    timeout: float = _row(
        parse_timeout, "1h", "DURATION", "The limit of one attempt, for jobs that name none of their own."
    )
    connect_timeout: float = _row(positive_duration, "10s", "DURATION", "The limit for reaching a target.")
    max_attempts: int = _row(
        whole(1, 1000), "1", "N", "How many attempts may fail, the first included, for jobs that name none."
    )
    success: str = _row(
        parse_success,
        "200",
        "STATUSES",
        "The answers that count as success, for jobs that name none: 200, 200-299, 2xx, 200,204.",
    )
    header: tuple[tuple[str, str], ...] = _row(
        parse_header,
        None,
        "NAME:VALUE",
        "A header for every call: the app's way to know its tasker.",
        **_SECRETS,
    )
    proxy: str | None = _row(
        parse_proxy, None, "URL", "An HTTP proxy for all calls, like http://proxy:3128.", secret=True
    )
    target_allow: tuple[str, ...] = _row(
        parse_target,
        None,
        "HOST|NETWORK",
        "Call these, even if they would be refused otherwise; a network is written 10.0.0.0/8.",
        **_LIST,
    )
    target_deny: tuple[str, ...] = _row(parse_target, None, "HOST|NETWORK", "Never call these.", **_LIST)
    max_response: int = _row(parse_size, "64KiB", "SIZE", "How much of an answer's body is read and kept.")
    max_body: int = _row(parse_size, "10MiB", "SIZE", "The biggest request body that is taken.")
    keep: float = _row(parse_duration, "7d", "DURATION", "How long completed and canceled jobs are kept.")
    keep_errors: float = _row(parse_duration, "30d", "DURATION", "How long jobs in error are kept.")
    error_callback: str | None = _row(
        parse_callback,
        None,
        "URL",
        "Where a job that ends in error is told of, by a POST of JSON that is itself a job.",
        secret=True,
    )
    on_stop: str = _row(
        one_of("finish", "drain"),
        "finish",
        "finish|drain",
        "When asked to stop: finish what runs, or first run all that is due by then.",
    )
    grace: float = _row(
        parse_duration,
        "30s",
        "DURATION",
        "How long running jobs may go on after that before they are released.",
    )
    tracing: bool = _row(
        parse_flag,
        None,
        "",
        "Send traces by OpenTelemetry to where OTEL_… variables say; needs taskpusher[otel].",
    )
    root_path: str = _row(
        parse_root_path, "", "PATH", "The path a proxy in front serves this under, like /jobs."
    )
    host: tuple[str, ...] = _row(
        parse_host, None, "NAME", "A name this is reached by, besides address and loopback names.", **_LIST
    )
    insecure: bool = _row(parse_flag, None, "", "Serve other machines without a password.")
    log_level: str = _row(
        one_of("debug", "info", "warning", "production"),
        "info",
        "LEVEL",
        "debug, info, warning, or production: info as JSON lines.",
    )
    log_format: str | None = _row(
        one_of("text", "json"), None, "text|json", "The form of log lines: text, or json at level production."
    )
    # By attribute, where what was set came from: option, environment or file.
    sources: Mapping[str, str] = dataclasses.field(default_factory=dict, compare=False)

    def __repr__(self) -> str:
        shown = (
            f"{row.attribute}={MASK if row.secret and value else repr(value)}"
            for row in SETTINGS
            for value in [getattr(self, row.attribute)]
        )
        return f"Settings({', '.join(shown)})"

    @property
    def has_users(self) -> bool:
        return bool(self.basicauth or self.basicauth_add or self.basicauth_readonly)


def _table() -> tuple[Setting, ...]:
    rows = []
    for field in dataclasses.fields(Settings):
        if "row" not in field.metadata:
            continue
        parse, default, metavar, sentence, more = field.metadata["row"]
        rows.append(Setting(field.name.replace("_", "-"), parse, default, metavar, sentence, **more))
    return tuple(rows)


SETTINGS = _table()

# ---- reading them -------------------------------------------------------------------------------------


def load(options: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Settings:
    """The settings from options (by attribute; None or () where not given), environment and TOML file.

    Raises InvalidField, whose field is the option, variable or key at fault.
    """
    found = _found(SETTINGS, options, environ)
    values = {name: value for name, (value, _) in found.items()}
    sources = {name: source for name, (_, source) in found.items() if source}
    settings = Settings(**values, sources=sources)
    refuse_open_door([settings.address], settings)
    return settings


def load_one(name: str, options: Mapping[str, object], environ: Mapping[str, str] = os.environ) -> Any:
    """One setting alone, for a command that needs no more; what is wrong with the others does not matter."""
    rows = [row for row in SETTINGS if row.attribute == name]
    return _found(rows, options, environ)[name][0]


def _found(
    rows: Iterable[Setting], options: Mapping[str, object], environ: Mapping[str, str]
) -> dict[str, tuple[Any, str]]:
    """The value of each row, and where it was set ("" where it was not), by attribute."""
    file = options.get("config") or environ.get("TASKER_CONFIG")
    keys = _read_file(str(file)) if file else {}
    found: dict[str, tuple[Any, str]] = {}
    for row in rows:
        if (option := options.get(row.attribute)) not in (None, ()):
            found[row.attribute] = row.read(option, f"--{row.name}"), "option"
        elif variable := environ.get(row.variable):  # set to nothing is not set
            found[row.attribute] = row.read(_parted(variable, row), row.variable), "environment"
        elif row.name in keys:
            found[row.attribute] = row.read(keys[row.name], f"{row.name} in {file}"), "file"
        else:
            found[row.attribute] = row.unset(), ""
    return found


def refuse_open_door(addresses: Iterable[Address], settings: Settings) -> None:
    """Raises InvalidField when other machines could push jobs without a password and nobody allowed it."""
    for address in addresses:
        if not (address.is_loopback or settings.has_users or settings.insecure):
            raise InvalidField(
                "--address",
                f"{address} can be reached from other machines: "
                "set --basicauth user:password, or --insecure to serve it without a password",
            )


def _parted(variable: str, row: Setting) -> list[str]:
    if not row.repeatable:
        return [variable]
    parts = re.split(f"[{row.between}]", variable)
    return [part.strip() for part in parts if part.strip()]


def _read_file(path: str) -> dict[str, Any]:
    try:
        keys = tomllib.loads(Path(path).read_text("utf-8"))
    except OSError as error:
        raise InvalidField("--config", f"{path} can't be read: {error.strerror}") from None
    except ValueError as error:  # not TOML, or not UTF-8
        raise InvalidField("--config", f"{path} is no TOML file: {error}") from None
    known = [row.name for row in SETTINGS if row.name != "config"]
    for key in keys:
        if key not in known:
            close = get_close_matches(key, known, 1, 0.5)
            hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
            raise InvalidField("--config", f"{path} sets {key}, which is no setting{hint}")
    return keys


# ---- showing them -------------------------------------------------------------------------------------


class Shown(NamedTuple):
    """A setting as a page shows it. `source` is option, environment, file or default."""

    option: str
    value: str
    source: str
    help: str


def shown_settings(settings: Settings) -> list[Shown]:
    """Every setting, in the order of the table, with passwords, header values and other secrets masked."""
    return [
        Shown(
            f"--{row.name}", _shown(row, settings), settings.sources.get(row.attribute, "default"), row.help
        )
        for row in SETTINGS
    ]


def _shown(row: Setting, settings: Settings) -> str:
    value = getattr(settings, row.attribute)
    if row.attribute not in settings.sources and row.default is not None:
        return row.default
    if row.parse in (parse_duration, parse_timeout, positive_duration):
        return written_duration(value)
    if isinstance(value, tuple):
        return ", ".join(map(_shown_one, value))
    return "" if value is None else masked_url(str(value)) if row.secret else _shown_one(value)


def _shown_one(value: object) -> str:
    match value:
        case Credentials(name=name):
            return f"{name}:{MASK}"
        case (str(name), _):  # a header
            return f"{name}: {MASK}"
        case StoreAddress(kind=kind, path=path):
            return f"{kind}:{path}"
        case bool():
            return "on" if value else "off"
    return str(value)


# ---- documentation ------------------------------------------------------------------------------------


def documentation() -> str:
    """docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Every setting is an option of `tasker`, an environment variable and a key of the TOML file that",
        "`--config FILE` or `TASKER_CONFIG` names. An option goes before the environment, that before the",
        "file, that before the default. Long options work with one dash as well:",
        "`tasker -address=localhost:9900`.",
        "",
        "Durations are written `30` or `30s`, `10m`, `1h`, `7d`, `500ms`; sizes `1000`, `64KiB`, `10MiB`.",
        "Where an option may be repeated, its variable holds one value a line (commas part them too, where",
        "noted) and its key a list. A variable that is set to nothing counts as not set.",
        "",
        "| option | variable | default | |",
        "|---|---|---|---|",
    ]
    lines += [_documented(row) for row in SETTINGS]
    return "\n".join(lines) + "\n"


def _documented(row: Setting) -> str:
    option = f"--{row.name} {row.metavar}".strip().replace("|", "\\|")
    default = f"`{row.default}`" if row.default else ""
    note = ""
    if row.repeatable:
        note = " May be repeated, or parted by commas." if "," in row.between else " May be repeated."
    return f"| `{option}` | `{row.variable}` | {default} | {row.help}{note} |"


if __name__ == "__main__":
    print(documentation(), end="")  # noqa: T201
