"""check, backup and compact: where the store is named, what they say, and how they end."""

import json
from pathlib import Path

import pytest
from stores.damage import make_store, spoiling

from taskpusher import cli

Told = pytest.CaptureFixture[str]


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("TASKER_STORE", raising=False)
    monkeypatch.delenv("TASKER_CONFIG", raising=False)
    make_store(tmp_path / "db")
    return tmp_path / "db"


@pytest.fixture
def spoiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With a row too few, four too many, and a result that can't be read."""
    monkeypatch.delenv("TASKER_CONFIG", raising=False)
    uids = make_store(tmp_path / "db")
    with spoiling(tmp_path / "db", uids) as spoiler:
        spoiler.delete("due", spoiler.row("later", "due")[0])
        for number in range(4):
            spoiler.put("paused", bytes(7) + bytes([90 + number]), spoiler.key("late"))
        spoiler.put("results", spoiler.key("completed"), b"\xff")
    return tmp_path / "db"


def test_the_store_is_named_as_for_serving(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    toml = tmp_path / "tasker.toml"
    toml.write_text(f'store = "lmdb:{path}"\nconcurrency = 0\n')
    for line in (
        ["check", f"--store=lmdb:{path}"],
        ["check", f"-store=lmdb:{path}"],
        ["check", f"--config={toml}"],
    ):
        assert cli.run(line) == 0, line
    monkeypatch.setenv("TASKER_STORE", f"lmdb:{path}")
    monkeypatch.setenv("TASKER_ADDRESS", "no address")
    assert cli.run(["check"]) == 0
    assert capsys.readouterr().out.count(f"{path}: 9 jobs") == 4
    monkeypatch.setenv("TASKER_STORE", "")
    monkeypatch.chdir(tmp_path)
    assert cli.run(["check"]) == 3
    assert capsys.readouterr().err == "tasker: there is no store at tasker.db: check --store\n"


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (["check", "--store=memory:"], "no directory to check"),
        (["check", "--store=tasker.db"], "is no store; write lmdb:PATH"),
        (["compact", "--store=memory:"], "no directory to compact"),
        (["check", "--set-aside"], "it goes with --rebuild"),
        (["check", "--nothing"], "No such option"),
        (["backup"], "Missing argument 'DIR'"),
        (["backup", "a", "b"], "unexpected extra argument"),
    ],
)
def test_a_wrong_use_is_told_in_one_sentence_with_exit_2(line: list[str], told: str, capsys: Told) -> None:
    assert cli.run(line) == 2
    said = capsys.readouterr()
    assert told in said.err
    assert (said.out, said.err.count("\n")) == ("", 1)


def test_a_check_names_what_is_wrong_and_what_would_become_of_it(spoiled: Path, capsys: Told) -> None:
    assert cli.run(["check", f"--store=lmdb:{spoiled}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "due: 1 missing; --rebuild adds it" in lines
    assert "paused: 4 stray; --rebuild removes it" in lines
    assert "    and 1 more" in lines
    assert "results: 1 unreadable; left as it is; --rebuild --set-aside moves it to files in lost/" in lines
    assert lines[-1] == "6 wrong"


def test_a_rebuild_says_what_it_mended_and_what_is_left(spoiled: Path, capsys: Told) -> None:
    assert cli.run(["check", "--rebuild", f"--store=lmdb:{spoiled}"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "due: 1 missing; mended" in lines
    assert "paused: 4 stray; mended" in lines
    assert lines[-2].startswith(f"made every index anew; {spoiled}: 9 jobs")
    assert lines[-1] == "1 wrong"
    assert cli.run(["check", "--rebuild", "--set-aside", "--json", f"--store=lmdb:{spoiled}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["wrong"], report["findings"]) == (0, [])
    (mended,) = report["mended"]
    assert (mended["table"], mended["fault"], mended["count"]) == ("results", "unreadable", 1)


def test_a_check_tells_scripts_the_same(spoiled: Path, capsys: Told) -> None:
    assert cli.run(["check", "--json", f"--store=lmdb:{spoiled}"]) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["store"], report["jobs"], report["wrong"]) == (str(spoiled), 9, 6)
    found = {(one["table"], one["fault"]): one for one in report["findings"]}
    assert found["paused", "stray"]["count"] == 4
    assert len(found["paused", "stray"]["examples"]) == 3


def test_a_backup_says_jobs_bytes_and_seconds(path: Path, tmp_path: Path, capsys: Told) -> None:
    assert cli.run(["backup", f"--store=lmdb:{path}", str(tmp_path / "copy")]) == 0
    assert capsys.readouterr().out.startswith(f"copied {path} to {tmp_path / 'copy'}: 9 jobs, ")
    assert cli.run(["backup", f"--store=lmdb:{path}", str(tmp_path / "copy")]) == 2
    assert "there already" in capsys.readouterr().err
    assert cli.run(["backup", "--json", f"--store=lmdb:{path}", str(tmp_path / "other")]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["jobs"], told["copy"], told["report"]["wrong"]) == (9, str(tmp_path / "other"), 0)
    assert told["bytes"] > 0 < told["seconds"]


def test_a_backup_of_a_store_with_faults_is_made_and_ends_with_1(
    spoiled: Path, tmp_path: Path, capsys: Told
) -> None:
    assert cli.run(["backup", f"--store=lmdb:{spoiled}", str(tmp_path / "copy")]) == 1
    assert "the copy is whole, but 6 wrong in the store" in capsys.readouterr().out
    assert cli.run(["check", f"--store=lmdb:{tmp_path / 'copy'}"]) == 1


def test_compacting_says_the_size_before_and_after(path: Path, capsys: Told) -> None:
    assert cli.run(["compact", f"--store=lmdb:{path}"]) == 0
    assert " KiB before, " in capsys.readouterr().out


def test_a_bar_is_shown_on_a_terminal_and_nowhere_else(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    assert cli.run(["check", f"--store=lmdb:{path}"]) == 0
    assert capsys.readouterr().err == ""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert cli.run(["check", f"--store=lmdb:{path}"]) == 0
    assert "100%" in capsys.readouterr().err


def test_an_interrupt_is_told_and_ends_with_1(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Told
) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("taskpusher.stores.copies.check_copy", interrupt)
    assert cli.run(["backup", f"--store=lmdb:{path}", str(tmp_path / "copy")]) == 1
    assert capsys.readouterr().err == "tasker: interrupted; nothing was changed\n"
    assert {one.name for one in tmp_path.iterdir()} == {"db"}
