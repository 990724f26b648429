import dataclasses
from pathlib import Path

import pytest

from taskpusher.config import SETTINGS, Settings, documentation, load, refuse_open_door, shown_settings
from taskpusher.errors import InvalidField
from taskpusher.values import Address, Credentials, StoreAddress, parse_address, parse_size


def test_nothing_given_is_the_defaults() -> None:
    settings = load({}, {})
    assert settings.address == Address("localhost", 9900)
    assert settings.store == StoreAddress("lmdb", "tasker.db")
    assert (settings.concurrency, settings.per_host, settings.max_attempts) == (4, 0, 1)
    assert (settings.timeout, settings.connect_timeout, settings.grace) == (3600.0, 10.0, 30.0)
    assert (settings.keep, settings.keep_errors) == (7 * 86400.0, 30 * 86400.0)
    assert (settings.max_response, settings.max_body) == (65536, 10 << 20)
    assert (settings.success, settings.on_stop, settings.log_level) == ("200", "finish", "info")
    assert (settings.basicauth, settings.header, settings.host, settings.insecure) == ((), (), (), False)


def test_an_option_goes_before_the_environment_that_before_the_file_that_before_the_default(
    tmp_path: Path,
) -> None:
    file = tmp_path / "tasker.toml"
    file.write_text('concurrency = 3\nper-host = 3\ntimeout = "3m"\n')
    environ = {"TASKER_CONFIG": str(file), "TASKER_CONCURRENCY": "2", "TASKER_PER_HOST": "2"}
    settings = load({"concurrency": "1"}, environ)
    assert (settings.concurrency, settings.per_host, settings.timeout, settings.grace) == (1, 2, 180.0, 30.0)


def test_every_setting_can_be_given_in_every_place(tmp_path: Path) -> None:
    given = {
        "address": "127.0.0.1:0",
        "basicauth": "me:secret",
        "basicauth-add": "app:secret",
        "basicauth-readonly": "boss:secret",
        "store": "memory:",
        "concurrency": "50",
        "per-host": "5",
        "timeout": "5m",
        "connect-timeout": "500ms",
        "max-attempts": "3",
        "success": "200-299",
        "header": "X-App: yes",
        "proxy": "http://proxy.example:3128",
        "target-allow": "10.0.0.0/8",
        "target-deny": "all",
        "max-response": "1MiB",
        "max-body": "1000",
        "keep": "1d",
        "keep-errors": "0",
        "on-stop": "drain",
        "grace": "1m",
        "root-path": "/jobs/",
        "host": "jobs.example",
        "insecure": "true",
        "tracing": "true",
        "error-callback": "https://me:secret@app.example/errors",
        "log-level": "production",
        "log-format": "text",
    }
    assert {"config", *given} == {row.name for row in SETTINGS}
    options = load({name.replace("-", "_"): value for name, value in given.items()}, {})
    environ = load({}, {f"TASKER_{name.replace('-', '_').upper()}": value for name, value in given.items()})
    file = tmp_path / "tasker.toml"
    file.write_text("".join(f'{name} = "{value}"\n' for name, value in given.items()))
    from_file = load({"config": str(file)}, {})
    assert options == environ == dataclasses.replace(from_file, config=None)
    assert options.root_path == "/jobs"
    assert options.header == (("X-App", "yes"),)
    unset = load({}, {})
    assert all(getattr(options, row.attribute) != row.unset() for row in SETTINGS if row.name != "config")
    assert unset != options


def test_a_toml_file_has_numbers_truth_and_lists(tmp_path: Path) -> None:
    file = tmp_path / "tasker.toml"
    file.write_text('grace = 1.5\nconcurrency = 9\ninsecure = true\nheader = ["A: 1", "B: 2"]\nhost = "x"\n')
    settings = load({"config": str(file)}, {})
    assert (settings.grace, settings.concurrency, settings.insecure) == (1.5, 9, True)
    assert settings.header == (("A", "1"), ("B", "2"))
    assert settings.host == ("x",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("concurency = 3", "sets concurency, which is no setting; did you mean concurrency?"),
        ("per_host = 3", "did you mean per-host?"),
        ("zzz = 3", "known are address"),
        ("config = 'x'", "sets config, which is no setting"),
        ("= 3", "is no TOML file"),
        ("[timeout]\na = 1", "it must be a text or a number"),
        ("timeout = [1, 2]", "it takes one value"),
        ("timeout = 1979-05-27", "it must be a text or a number"),
    ],
)
def test_a_toml_file_that_makes_no_sense_is_refused(tmp_path: Path, content: str, complaint: str) -> None:
    file = tmp_path / "tasker.toml"
    file.write_text(content)
    with pytest.raises(InvalidField, match=r".") as refused:
        load({"config": str(file)}, {})
    assert complaint in str(refused.value)
    assert str(file) in str(refused.value)


def test_a_missing_toml_file_is_refused() -> None:
    with pytest.raises(InvalidField, match=r"/nowhere/x\.toml can't be read: No such file"):
        load({"config": "/nowhere/x.toml"}, {})


def test_an_error_names_the_place_where_the_value_was_given() -> None:
    with pytest.raises(InvalidField, match=r"^--concurrency: 'x' is no whole number"):
        load({"concurrency": "x"}, {})
    with pytest.raises(InvalidField, match=r"^TASKER_PER_HOST: '-1' is no whole number"):
        load({}, {"TASKER_PER_HOST": "-1"})


def test_a_variable_set_to_nothing_is_not_set() -> None:
    assert load({}, {"TASKER_ADDRESS": "", "TASKER_BASICAUTH": ""}) == load({}, {})


def test_a_repeatable_variable_holds_lines_and_names_may_be_parted_by_commas() -> None:
    settings = load(
        {},
        {
            "TASKER_BASICAUTH": "a:1,2\nb:3\n",
            "TASKER_HEADER": "A: 1, 2\nB: 3",
            "TASKER_HOST": "x.example, y.example\nz.example",
        },
    )
    assert settings.basicauth == (Credentials("a", "1,2"), Credentials("b", "3"))
    assert settings.header == (("A", "1, 2"), ("B", "3"))
    assert settings.host == ("x.example", "y.example", "z.example")


# ---- credentials --------------------------------------------------------------------------------------


def test_credentials_are_read_from_a_file_without_blank_lines_and_comments(tmp_path: Path) -> None:
    file = tmp_path / "users"
    file.write_text("# who\n\nme:se:cret \r\n  # more\nyou:#1\n")
    settings = load({"basicauth": (f"@{file}", "x:y")}, {})
    expected = (Credentials("me", "se:cret "), Credentials("you", "#1"), Credentials("x", "y"))
    assert settings.basicauth == expected


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("secret", "line 1 of FILE is no user:password: there is no colon"),
        ("# x\n:secret", "line 2 of FILE has an empty user"),
        ("me:", "line 1 of FILE has an empty password"),
        ("# nobody", "the file FILE holds no user:password line"),
        (None, "the file FILE can't be read: No such file or directory"),
    ],
)
def test_a_file_of_credentials_that_makes_no_sense_is_refused(
    tmp_path: Path, content: str | None, complaint: str
) -> None:
    file = tmp_path / "users"
    if content is not None:
        file.write_text(content)
    with pytest.raises(InvalidField) as refused:
        load({"basicauth": (f"@{file}",)}, {})
    assert complaint.replace("FILE", str(file)) in str(refused.value)
    assert "secret" not in str(refused.value).replace("no user:password", "")


def test_secrets_are_not_in_the_repr_of_the_settings() -> None:
    settings = load(
        {
            "basicauth": ("me:topsecret",),
            "header": ("Authorization: topsecret",),
            "proxy": "http://me:topsecret@proxy",
        },
        {},
    )
    assert "topsecret" not in repr(settings)
    assert "topsecret" not in repr(settings.basicauth)
    assert "concurrency=4" in repr(settings)


# ---- the address --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "address", "loopback"),
    [
        ("localhost:9900", Address("localhost", 9900), True),
        ("127.0.0.1:0", Address("127.0.0.1", 0), True),
        ("127.8.8.8:1", Address("127.8.8.8", 1), True),
        ("[::1]:9900", Address("::1", 9900), True),
        (":9900", Address("", 9900), False),
        ("0.0.0.0:9900", Address("0.0.0.0", 9900), False),
        ("[::]:9900", Address("::", 9900), False),
        ("jobs.example:80", Address("jobs.example", 80), False),
        ("10.0.0.1:80", Address("10.0.0.1", 80), False),
    ],
)
def test_an_address_is_read_and_known_to_be_loopback_or_not(
    text: str, address: Address, loopback: bool
) -> None:
    assert parse_address(text) == address
    assert address.is_loopback is loopback
    assert str(address) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "9900",
        "localhost",
        "localhost:",
        "::1:9900",
        "[::1]",
        "[x]:1",
        "[1.2.3.4]:1",
        "a:65536",
        "a b:1",
        "http://localhost:9900",
        "*:9900",
        "a:-1",
        "a:٣",
        "user@host:1",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"is no "):
        parse_address(text)


@pytest.mark.parametrize("address", [":9900", "0.0.0.0:1", "[::]:1", "10.0.0.1:1", "jobs.example:1"])
def test_other_machines_are_not_served_without_a_password_unless_told_so(address: str) -> None:
    with pytest.raises(InvalidField, match=r"set --basicauth user:password, or --insecure"):
        load({"address": address}, {})
    for way_out in ({"insecure": True}, {"basicauth": ("a:b",)}, {"basicauth_add": ("a:b",)}):
        assert load({"address": address, **way_out}, {}).address == parse_address(address)


def test_the_door_is_looked_at_for_sockets_handed_over_too() -> None:
    with pytest.raises(InvalidField, match=r"0\.0\.0\.0:80 can be reached"):
        refuse_open_door([Address("127.0.0.1", 80), Address("0.0.0.0", 80)], load({}, {}))


# ---- other values -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1000", 1000),
        ("64KiB", 65536),
        ("10MiB", 10 << 20),
        ("1GiB", 1 << 30),
        ("10 MB", 10_000_000),
        ("0", 0),
    ],
)
def test_a_size_is_read_as_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("max_body", "10M"),
        ("max_body", "-1"),
        ("max_body", ""),
        ("max_body", "1.5KiB"),
        ("concurrency", "0"),
        ("concurrency", "1e3"),
        ("timeout", "0"),
        ("timeout", "inf"),
        ("connect_timeout", "0"),
        ("success", "ok"),
        ("success", "300-200"),
        ("store", "tasker.db"),
        ("store", "lmdb:"),
        ("store", "memory:x"),
        ("store", "sqlite:x"),
        ("on_stop", "die"),
        ("log_level", "loud"),
        ("log_format", "xml"),
        ("root_path", "jobs"),
        ("root_path", "/a b"),
        ("host", "http://x"),
        ("host", "x:80"),
        ("proxy", "proxy:3128"),
        ("proxy", "socks5://proxy"),
        ("target_allow", "http://x/"),
        ("target_deny", "10.0.0.1/8"),
        ("insecure", "maybe"),
    ],
)
def test_a_value_out_of_range_is_refused(name: str, text: str) -> None:
    with pytest.raises(InvalidField, match=f"^--{name.replace('_', '-')}: "):
        load({name: text}, {})


@pytest.mark.parametrize(
    "header",
    [
        "X-App",
        ": x",
        "X App: x",
        "X-App: a\r\nB: c",
        "X-App: \x00",
        "X-App: a\nb",
        "Content-Length: 1",
        "transfer-encoding: chunked",
        "Connection: close",
        "TE: x",
        "Upgrade: h2c",
        "Host: x",
        "Tasker-Uid: 1",
        "tasker-anything: 1",
        "Idempotency-Key: 1",
    ],
)
def test_a_header_that_breaks_out_or_is_the_taskers_own_is_refused(header: str) -> None:
    with pytest.raises(InvalidField, match=r"^--header: "):
        load({"header": (header,)}, {})


# ---- the table ----------------------------------------------------------------------------------------


def test_the_documentation_is_made_of_the_table() -> None:
    written = Path(__file__).parent.parent / "docs" / "settings.md"
    assert written.read_text("utf-8") == documentation(), "python -m taskpusher.config > docs/settings.md"


def test_the_table_has_every_setting_once_with_a_sentence() -> None:
    fields = [field.name for field in dataclasses.fields(Settings) if field.name != "sources"]
    assert [row.attribute for row in SETTINGS] == fields
    assert len({row.variable for row in SETTINGS}) == len(SETTINGS)
    assert all(row.help.endswith((".", "?")) for row in SETTINGS)


def test_settings_are_shown_with_where_they_came_from_and_without_their_secrets(tmp_path: Path) -> None:
    file = tmp_path / "tasker.toml"
    file.write_text(
        'basicauth = ["app:SECRET1", "b:SECRET2"]\nheader = ["X-Key: SECRET3"]\nkeep = "14d"\n'
        'error-callback = "http://u:SECRET4@app.example/e?token=SECRET5"\nproxy = "http://u:SECRET6@proxy:1"\n'
    )
    options = {"config": str(file), "store": "lmdb:/var/lib/tasker", "tracing": True}
    settings = load(options, {"TASKER_PER_HOST": "3", "TASKER_HOST": "a.example, b.example"})
    shown = shown_settings(settings)
    assert [one.option for one in shown] == [f"--{row.name}" for row in SETTINGS]
    assert all(one.help for one in shown)
    found = {one.option: (one.value, one.source) for one in shown}
    assert found["--basicauth"] == ("app:***, b:***", "file")
    assert found["--header"] == ("X-Key: ***", "file")
    assert found["--keep"] == ("14d", "file")
    assert found["--error-callback"] == ("http://***@app.example/e?token=***", "file")
    assert found["--proxy"] == ("http://***@proxy:1", "file")
    assert found["--store"] == ("lmdb:/var/lib/tasker", "option")
    assert found["--tracing"] == ("on", "option")
    assert found["--per-host"] == ("3", "environment")
    assert found["--host"] == ("a.example, b.example", "environment")
    assert found["--timeout"] == ("1h", "default")
    assert found["--insecure"] == ("off", "default")
    assert found["--log-format"] == ("", "default")
    assert found["--basicauth-add"] == ("", "default")
    assert "SECRET" not in str(shown) + repr(settings)
