"""docs/operations.md, done: its blocks set up a machine, each section of the runbook cures what it says."""

import re
import shutil
import signal
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from .machine import PAGE, Machine
from .program import Tasker, installed, until
from .target import Target
from .transcripts import MARK, matches, transcript

TEXT = PAGE.read_text("utf-8")
COPY = "/var/backups/tasker/2026-11-20T033412Z"
DB = "/var/lib/tasker/tasker.db"
ALERTS = PAGE.parents[1] / "examples" / "operations" / "tasker-alerts.yml"


def section(title: str) -> str:
    """That section with those below it. A comment in a block is no heading."""
    level, found, code = 0, [], False
    for line in TEXT.splitlines(keepends=True):
        code ^= line.startswith("```")
        heading = None if code else re.match(r"(#+) (.*)", line)
        if heading and level and len(heading[1]) <= level:
            break
        if heading and heading[2] == title:
            level = len(heading[1])
        elif level:
            found.append(line)
    return "".join(found)


def shell(title: str) -> list[str]:
    return re.findall(r"^```sh\n(?!#!)(.*?)^```$", section(title), re.DOTALL | re.MULTILINE)


def walk_through(machine: Machine, title: str) -> None:
    """Run the transcripts of the section; each command says what is written."""
    steps = transcript(section(title))
    assert steps, title
    said = machine.run("\n".join(f"{command}\necho '{MARK}'" for command, _ in steps)).split(f"{MARK}\n")
    for (command, written), really in zip(steps, said, strict=False):
        assert matches(really, written), f"$ {command}\n{really}"
    assert len(said) == len(steps) + 1


@pytest.fixture(scope="session")
def set_up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """As the page says."""
    installed("jq")
    with Machine(tmp_path_factory.mktemp("machine") / "m", 1) as made:
        _, setup, ask = shell("Install")
        made.run(f"set -e\n{setup}{ask}")
        made.keep()
        yield made


@pytest.fixture
def machine(set_up: Machine, target: Target) -> Iterator[Machine]:
    """Set up as the page says, and running; what a test does to it is undone for the next one."""
    set_up.back(target.port)
    yield set_up
    set_up.kill_all()


# ---- what breaks --------------------------------------------------------------------------------------


def misspelled(machine: Machine, target: Target) -> None:
    settings = machine.path("/etc/tasker/tasker.toml")
    settings.write_text(settings.read_text().replace("concurrency", "concurency"))
    assert machine.told(["systemctl", "restart", "tasker.service"])[0] == 1


def taken(machine: Machine, target: Target) -> None:
    machine.stop()
    rogue = Tasker(
        f"--store=lmdb:{machine.path(DB)}", "--address=127.0.0.1:0", log=machine.home / "rogue"
    ).ready()
    machine.others.append(rogue)
    assert machine.told(["systemctl", "start", "tasker.service"])[0] == 1


def paused(machine: Machine, target: Target) -> None:
    machine.run("tasker queue mail --pause; tasker add http://localhost:8000/{a,b,c} --queue mail")


def hanging_target(machine: Machine, target: Target) -> None:
    settings = machine.path("/etc/tasker/tasker.toml")
    settings.write_text(settings.read_text().replace("per-host = 10\n", ""))
    machine.run("systemctl restart tasker.service")
    machine.run(
        "tasker add http://localhost:8000/hold/{1..25} --queue reports; tasker add http://localhost:8000/other"
    )
    until(lambda: target.in_flight == 20)


def failing_queue(machine: Machine, target: Target) -> None:
    machine.run("tasker add http://localhost:8000/fail/404/{1..7} --queue mail --wait || true")


def full(machine: Machine, target: Target) -> None:
    filler = machine.path("/var/lib/tasker/somebody-elses.log")
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
    until(lambda: '"full":true' in machine.run("tasker stats --json"))
    machine.run("if tasker add http://localhost:8000/work; then exit 1; fi")


def with_backup(machine: Machine) -> None:
    """Three jobs wait in a copy that was made in the night."""
    machine.run(f"tasker add http://localhost:8000/{{a,b,c}} --delay 1h; tasker backup {COPY}")


def damaged(machine: Machine, target: Target) -> None:
    with_backup(machine)
    machine.stop()
    (machine.path(DB) / "data.mdb").write_bytes(b"no such thing as LMDB " * 1000)
    assert machine.told(["systemctl", "start", "tasker.service"])[0] == 1


def edit(machine: Machine, table: bytes, change: Callable[[lmdb.Transaction, object], None]) -> None:
    machine.stop()
    with lmdb.open(str(machine.path(DB)), max_dbs=30) as env:
        found = env.open_db(table, create=False)
        with env.begin(write=True) as txn:
            change(txn, found)


def faulty(machine: Machine, target: Target) -> None:
    machine.run("tasker add http://localhost:8000/later --delay 1h")
    edit(machine, b"due", lambda txn, due: txn.drop(due, delete=False))
    assert machine.start()[0] == 0


def newer(machine: Machine, target: Target) -> None:
    edit(machine, b"meta", lambda txn, meta: txn.put(b"format", struct.pack(">I", 2), db=meta))
    assert machine.start()[0] == 1


def forgotten(machine: Machine, target: Target) -> None:
    machine.path("/etc/tasker/admins").write_text("admin:mistyped\n")


BREAK: dict[str, Callable[[Machine, Target], None]] = {
    "The service does not start": misspelled,
    "Something else has the store": taken,
    "Jobs wait and nothing runs": paused,
    "All jobs of a queue fail": failing_queue,
    "A damaged store": damaged,
    "A check finds something": faulty,
    "A store of a newer version": newer,
    "A forgotten password": forgotten,
}
OWN_TEST = {"It answers nothing", "A target hangs", "A full disk"}
NOTHING_TO_RUN = {"The address is taken"}


def test_the_runbook_is_tested_as_a_whole() -> None:
    titles = re.findall(r"^### (.*)$", section("Runbook"), re.MULTILINE)
    assert set(titles) == {*BREAK} | OWN_TEST | NOTHING_TO_RUN


@pytest.mark.parametrize("title", BREAK)
def test_the_runbook_cures(title: str, machine: Machine, target: Target) -> None:
    BREAK[title](machine, target)
    walk_through(machine, title)


def test_after_a_hang_what_was_running_is_called_again(machine: Machine, target: Target) -> None:
    machine.run("tasker add http://localhost:8000/hold/once")
    until(lambda: target.paths() == ["/hold/once"])
    assert machine.tasker is not None
    machine.tasker.tell(signal.SIGSTOP)
    target.release()
    walk_through(machine, "It answers nothing")
    until(lambda: target.paths() == ["/hold/once"] * 2)


def test_after_a_hanging_target_the_others_run_and_then_all(machine: Machine, target: Target) -> None:
    hanging_target(machine, target)
    walk_through(machine, "A target hangs")
    target.release()
    until(lambda: sum(path.startswith("/hold/") for path in target.answered) == 25)
    assert target.paths()[20] == "/other"


def test_a_full_disk_is_cured_by_room(machine: Machine, target: Target, disk: Path) -> None:
    machine.stop()
    shutil.rmtree(machine.path("/var/lib/tasker"))
    machine.path("/var/lib/tasker").symlink_to(disk)
    assert machine.start()[0] == 0
    full(machine, target)
    walk_through(machine, "A full disk")
    assert target.paths() == ["/work"]
    machine.stop()


# ---- backups ------------------------------------------------------------------------------------------


def test_a_restored_backup_has_its_jobs_again(machine: Machine, target: Target) -> None:
    with_backup(machine)
    machine.run("tasker jobs waiting --json | jq -r .uid | xargs tasker run")
    until(lambda: sorted(target.paths()) == ["/a", "/b", "/c"])
    walk_through(machine, "Backup and restore")
    assert machine.run("tasker jobs waiting --json | jq -r .url").count("\n") == 3


def test_a_backup_goes_when_it_is_older_than_the_days_and_a_newer_one_was_made(machine: Machine) -> None:
    backups = machine.path("/var/backups/tasker")
    old, young, other = (
        backups / "2020-01-31T033000Z",
        backups / f"{time.strftime('%Y-%m-%d')}T000000Z",
        backups / "kept",
    )
    for one in (old, backups / "2020-01-31T033000Z.new-x", young, other):
        one.mkdir()
    (now,) = shell("Backup and restore")
    machine.run(now)
    left = {one.name for one in backups.iterdir()}
    made = left - {young.name, other.name}
    assert len(made) == 1, left
    assert (backups / made.pop() / "data.mdb").exists()


def test_no_backup_goes_when_the_new_one_was_not_made(machine: Machine) -> None:
    old = machine.path("/var/backups/tasker") / "2020-01-31T033000Z"
    old.mkdir()
    machine.stop()
    shutil.rmtree(machine.path(DB))
    assert machine.told(["systemctl", "start", "tasker-backup.service"])[0] != 0
    assert old.exists()


# ---- watching -----------------------------------------------------------------------------------------


def watched(machine: Machine, seconds: int) -> tuple[int, str]:
    told = machine.run(f"export TASKER_BASICAUTH=@/etc/tasker/watchers; tasker-watch {seconds}; echo $?")
    *lines, code = told.splitlines()
    return int(code), "\n".join(lines)


def test_the_watch_says_what_is_wrong(machine: Machine, target: Target) -> None:
    assert watched(machine, 0) == (0, "")
    machine.run("tasker queue mail --pause; tasker add http://localhost:8000/ --queue mail")
    assert watched(machine, 300) == (0, "")
    until(lambda: watched(machine, 0)[0] == 1)
    assert "a job has been due for" in watched(machine, 0)[1]
    machine.run("tasker add http://localhost:8000/fail/404/{1..12} --wait || true")
    assert "jobs ended in error within 5 minutes" in watched(machine, 300)[1]
    machine.stop()
    code, said = watched(machine, 300)
    assert (code, "no tasker answers" in said) == (1, True)


def test_the_log_tells_the_failed_jobs_by_queue(machine: Machine, target: Target) -> None:
    machine.run("tasker add http://localhost:8000/fail/404/{1..3} --queue mail --wait || true")
    (script,) = shell("The log")
    assert machine.run(script).split() == ["3", "mail"]


# ---- the rest of the blocks ---------------------------------------------------------------------------


def test_an_upgrade_is_a_restart_with_the_jobs_kept(machine: Machine, target: Target) -> None:
    machine.run("tasker add http://localhost:8000/later --delay 1h")
    (script,) = shell("Upgrade")
    lines = [line for line in script.splitlines() if "pip install" not in line]
    assert len(lines) == 3
    assert re.search(r"^waiting +1 ", machine.run("\n".join(lines)), re.MULTILINE)


def test_a_store_moves_to_another_machine(machine: Machine, target: Target, tmp_path: Path) -> None:
    machine.run("tasker add http://localhost:8000/later --delay 1h")
    (script,) = shell("Move to another machine")
    machine.run(script)
    assert machine.tasker is None
    (copy,) = machine.path("/var/backups/tasker").iterdir()
    with Machine(tmp_path / "n", target.port) as other:
        shutil.copytree(copy, other.path(DB))
        _, setup, ask = shell("Install")
        assert re.search(r"^waiting +1 ", other.run(f"set -e\n{setup}{ask}"), re.MULTILINE)


@pytest.mark.parametrize("title", ["Check", "Compact"])
def test_the_care_of_the_store_is_done_as_it_is_said(title: str, machine: Machine) -> None:
    said = "".join(map(machine.run, shell(title)))
    assert "nothing is wrong" in said or "compacted" in said
    assert machine.run("tasker stats --json").startswith('{"states"')


def test_prometheus_takes_its_files(machine: Machine) -> None:
    installed("promtool")
    (script,) = shell("With Prometheus")
    said = machine.run(script)
    assert said.count("SUCCESS") == 4, said
    password = machine.path("/etc/tasker/watchers").read_text().partition(":")[2]
    assert machine.path("/etc/prometheus/tasker-password").read_text() == password


def test_the_alerts_ask_for_figures_that_there_are(machine: Machine) -> None:
    answer = machine.run("curl -sS -u $(cat /etc/tasker/watchers) localhost:9900/metrics")
    if '"status":404' in answer:
        pytest.skip("this tasker has no /metrics")
    there = set(re.findall(r"^(\w+)(?:\{| )", answer, re.MULTILINE))
    asked = set(re.findall(r"\b(?:taskpusher|process)_\w+", ALERTS.read_text()))
    assert len(asked) > 10
    assert asked <= there
