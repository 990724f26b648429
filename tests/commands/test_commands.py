"""What all subcommands share: their table, their options, how they end."""

import subprocess
import sys
from pathlib import Path

import click
import httpx
import pytest

from taskpusher import cli
from taskpusher.commands import COMMANDS
from taskpusher.commands.remote import connected

from .conftest import Run, nothing

STATS = {
    "states": {"waiting": 3},
    "queues": {},
    "rates": {span: {"pushed": 1.5, "completed": 1, "errors": 0} for span in ("1m", "5m", "60m")},
    "oldest_waiting": None,
    "uptime": 3700.0,
    "concurrency": 4,
    "busy": 1,
    "lag": 0.0021,
    "store": {"kind": "lmdb", "path": "/a/b", "size": 2048, "free": 1, "disk_free": 4096, "full": False},
}


def context() -> click.Context:
    return click.Context(cli.tasker, info_name="tasker")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_is_where_the_table_says(name: str) -> None:
    command = cli.tasker.get_command(context(), name)
    assert command is not None
    assert command.name == name
    assert (command.help or "").startswith(COMMANDS[name].help)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_subcommand_has_a_help_that_says_it_all(name: str, run: Run) -> None:
    done = run(nothing, name, "-help")
    assert (done.code, done.err) == (0, "")
    command = cli.tasker.get_command(context(), name)
    assert command is not None
    for option in command.params:
        assert not isinstance(option, click.Option) or option.opts[-1] in done.out


@pytest.mark.parametrize("name", sorted(COMMANDS.keys()))
def test_scripts_get_json_from_every_subcommand(name: str) -> None:
    command = cli.tasker.get_command(context(), name)
    assert command is not None
    assert "--json" in [spelled for option in command.params for spelled in option.opts]


def test_the_help_of_tasker_lists_the_subcommands_without_loading_them() -> None:
    script = "import sys, taskpusher.cli as c; c.run(['-h']); print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for name, place in COMMANDS.items():
        assert f"\n  {name} " in done.stdout
        assert place.help in done.stdout
    for heavy in ("rich", "httpx", "taskpusher.fields", "taskpusher.client", "taskpusher.commands.remote"):
        assert f"'{heavy}'" not in done.stdout


def test_serving_loads_nothing_that_subcommands_need() -> None:
    script = (
        "import sys, taskpusher.cli as c, taskpusher.config as f\n"
        "s = f.load({}, {}); p = c._pusher(s, None, None); c._app(s, p, [], c.logs.Recent())\n"
        "print(sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    for heavy in ("rich", "jinja2", "taskpusher.client", "taskpusher.commands.remote"):
        assert f"'{heavy}'" not in done.stdout


# ---- who asks, and where ------------------------------------------------------------------------------


def asked_as(server: str | None, basicauth: str | None, **environ: str) -> tuple[str, str | None]:
    with connected(server, basicauth, environ=environ) as client:
        request = client._http.build_request("GET", "/stats")
        flow = client._http.auth
        sent = next(flow.sync_auth_flow(request)) if flow else request
        return str(sent.url), sent.headers.get("Authorization")


ME, YOU = "Basic bWU6cHc=", "Basic eW91OnB3"  # me:pw, you:pw


def test_options_go_before_the_address_and_that_before_the_environment(tmp_path: Path) -> None:
    (tmp_path / "passwords").write_text("# who may\n\nme:pw\nother:pw\n")
    default = "http://localhost:9900/stats"
    assert asked_as(None, None) == (default, None)
    assert asked_as(None, None, TASKER_SERVER="http://h/x/") == ("http://h/x/stats", None)
    assert asked_as("http://g", None, TASKER_SERVER="http://h") == ("http://g/stats", None)
    assert asked_as(None, "me:pw") == (default, ME)
    assert asked_as(None, f"@{tmp_path}/passwords", TASKER_BASICAUTH="you:pw") == (default, ME)
    assert asked_as(None, None, TASKER_BASICAUTH="you:pw\nme:pw") == (default, YOU)
    assert asked_as("http://me:pw@h", None, TASKER_BASICAUTH="you:pw") == ("http://h/stats", ME)
    assert asked_as("http://me:pw@h", "you:pw") == ("http://h/stats", YOU)
    assert asked_as(None, None, TASKER_SERVER="", TASKER_BASICAUTH="") == (default, None)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--server", "ftp://x"], "--server: is no address"),
        (["--basicauth", "secret"], "--basicauth: it is no user:password"),
        (["--basicauth", "@/nowhere"], "--basicauth: the file /nowhere can't be read"),
        (["--nope"], "No such option '--nope'; tasker stats --help lists the options"),
    ],
)
def test_wrong_usage_is_exit_2(words: list[str], said: str, run: Run) -> None:
    done = run(nothing, "stats", *words)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"tasker: {said}") or said in done.err
    assert done.err.count("\n") == 1
    assert "secret" not in done.err


def test_an_option_of_serving_before_a_subcommand_is_told_not_passed_over(run: Run) -> None:
    done = run(nothing, "--basicauth=me:pw", "--log-level=debug", "--insecure", "stats")
    assert done.code == 2
    assert "--basicauth, --log-level, --insecure before stats is for serving" in done.err


@pytest.mark.parametrize(
    "words",
    [["job", "\udcff"], ["cancel", "\udcff"], ["jobs", "--queue=\udcff"], ["queue", "\udcff", "--pause"]],
)
def test_what_is_no_text_is_wrong_usage(words: list[str], run: Run) -> None:
    done = run(nothing, *words)
    assert (done.code, done.out) == (2, "")
    assert "an argument holds what is no UTF-8" in done.err


@pytest.mark.parametrize("spelled", ["--json", "-json"])
def test_long_options_work_with_one_dash_too(spelled: str, run: Run) -> None:
    done = run(lambda request: httpx.Response(200, json=STATS), "stats", spelled)
    assert done.code == 0
    assert done.out.startswith('{"states":{"waiting":3}')
    assert done.out.count("\n") == 1


# ---- how they end -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", [["stats"], ["queues"], ["jobs"], ["job", "x"], ["add", "http://a/"], ["run", "x"]]
)
def test_a_tasker_that_is_not_there_is_exit_1_with_a_sentence(words: list[str], run: Run) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    done = run(refuse, *words, "--server", "http://me:secret@h")
    assert (done.code, done.out) == (1, "")
    assert done.err == "tasker: no tasker answers at http://h: is it running? --server says where\n"


def test_ctrl_c_ends_it_without_a_word(run: Run) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        raise KeyboardInterrupt

    assert run(interrupt, "stats") == (1, "", "")


def test_stats_are_told_to_people(run: Run) -> None:
    done = run(lambda request: httpx.Response(200, json=STATS), "stats")
    assert done.code == 0
    assert (
        "up 1h1m · workers busy 1 of 4 · lag 2.1 ms\nstore lmdb 2.0 KiB · disk free 4.0 KiB\nin /a/b\n"
        in done.out
    )
    assert "\nwaiting     3      pushed" in done.out
    assert " \n" not in done.out


def test_a_full_store_is_told(run: Run) -> None:
    full = {
        **STATS,
        "store": {"kind": "memory", "path": "", "size": 0, "free": 0, "disk_free": 0, "full": True},
    }
    done = run(lambda request: httpx.Response(200, json=full), "stats")
    assert "store memory 0 B · FULL: new jobs are refused" in done.out
