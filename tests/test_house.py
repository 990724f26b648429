"""The house: every file has its place, and imports point one way."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import taskpusher

ROOT = Path(__file__).parents[1]
HOUSE = ROOT / "taskpusher"

# From the ground up. A module sees its own line and the lines below it, never one above; the two families
# never each other. "stores.*" is every module of the folder.
FLOORS: tuple[tuple[str, ...], ...] = (
    (  # leaves: see nothing
        "errors",
        "durations",
        "histogram",
        "masking",
        "options",
        "shape",
        "timerfd",
        "trace",
        "uid",
        "url",
        "wording",
    ),
    ("clock", "job", "retry"),
    ("stores.*", "runners.*"),
    ("attempt", "document", "fields", "filters", "groups", "push", "queues"),
    ("buckets", "callbacks", "events", "history", "pulse", "tally"),
    ("feed", "worker", "upkeep", "timeshift", "recovery", "stats", "tracing", "moves", "bulk", "audit"),
    ("testing",),  # sees all that a pusher is made of; nobody sees it
    ("pusher",),
    ("values", "config", "logs", "systemd"),  # of the command and the web; the pusher knows no settings
    ("web", "web.*", "web.pages.*"),
    ("client",),  # asks what the web answers, over HTTP alone
    ("commands", "commands.*"),
    ("cli",),
    ("__main__",),
)
LEAVES = (*FLOORS[0], "logs", "systemd")
APART = ("stores", "runners")

FORBIDDEN = {"utils", "util", "common", "core", "helpers", "helper", "manager", "misc", "base_utils"}
LONGEST = 420  # lines: past ~400 a file is split
NOT_SPLIT = {"testing"}  # the exam of the stores: a list of tests


def name_of(path: Path) -> str:
    """`runners/http.py` is runners.http, `web/__init__.py` is web; the package's own is ""."""
    parts = path.relative_to(HOUSE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(path): path for path in sorted(HOUSE.rglob("*.py"))}
TREES = {name: ast.parse(path.read_text("utf-8")) for name, path in FILES.items()}
ROOM = FILES.keys() - {""}  # the package's own __init__ only names what the others have
EMPTY = {name for name, tree in TREES.items() if not tree.body}


def imported(name: str) -> Iterator[tuple[str, str]]:
    """(module, name or "") of every import of ours in that module, wherever in it."""
    package = [*name.split(".")] if FILES[name].name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == "taskpusher":
                    yield alias.name.partition(".")[2], ""
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = package[: len(package) - node.level + 1]
            elif (node.module or "").partition(".")[0] == "taskpusher":
                base = []
            else:
                continue
            inner = (node.module or "").removeprefix("taskpusher" if not node.level else "").strip(".")
            module = ".".join([*base, *filter(None, inner.split("."))])
            for alias in node.names:
                deeper = f"{module}.{alias.name}".strip(".")
                yield (deeper, "") if deeper in FILES else (module, alias.name)


SEEN = {name: {module for module, _ in imported(name)} - {""} for name in ROOM}


def said_by(script: str, cwd: Path) -> str:
    line = [sys.executable, "-c", script]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, check=True).stdout


def floor_of(name: str) -> int | None:
    family = name.rpartition(".")[0]
    for number, floor in enumerate(FLOORS):
        if name in floor or (family and f"{family}.*" in floor) or f"{name}.*" in floor:
            return number
    return None


@pytest.mark.parametrize("name", sorted(ROOM))
def test_every_file_has_its_place(name: str) -> None:
    floors = " <- ".join(" ".join(floor) for floor in FLOORS)
    assert floor_of(name) is not None, (
        f"taskpusher/{FILES[name].relative_to(HOUSE)} has no place in the house: add its name to FLOORS in "
        f"tests/test_house.py, on the lowest line from which it sees all it imports ({floors}). One more "
        "store goes into stores/, a runner of another kind into runners/, what speaks HTTP to users into web/"
    )


def test_no_place_is_kept_for_a_file_that_is_gone() -> None:
    for name in (name for floor in FLOORS for name in floor):
        family = name.removesuffix(".*")
        assert name in FILES or any(f.startswith(f"{family}.") for f in FILES), f"FLOORS names {name}"


@pytest.mark.parametrize("name", sorted(ROOM))
def test_imports_point_one_way(name: str) -> None:
    mine = floor_of(name)
    for other in SEEN[name]:
        theirs = floor_of(other)
        assert mine is not None, f"{name} has no place"
        assert theirs is not None, f"{other} has no place"
        assert theirs <= mine, f"{name} imports {other}, which stands above it: have it handed in instead"
        assert other != "testing", f"{name} imports testing, which is for tests alone"
        families = {name.partition(".")[0], other.partition(".")[0]}
        assert families != set(APART), f"{name} imports {other}: stores and runners never see each other"


@pytest.mark.parametrize("name", LEAVES)
def test_a_leaf_sees_nothing_of_ours(name: str) -> None:
    assert SEEN[name] == set()


def test_nothing_goes_round_in_circles() -> None:
    done: set[str] = set()

    def walk(name: str, way: tuple[str, ...]) -> None:
        assert name not in way, f"a circle: {' -> '.join((*way[way.index(name) :], name))}"
        if name not in done:
            for other in sorted(SEEN[name]):
                walk(other, (*way, name))
            done.add(name)

    for name in sorted(ROOM):
        walk(name, ())


def test_of_the_package_itself_only_the_version_is_taken() -> None:
    for name in ROOM:
        assert {what for module, what in imported(name) if not module} <= {"__version__"}, name


def test_no_file_is_named_after_nothing() -> None:
    for name in FILES:
        assert not FORBIDDEN & set(name.split(".")), f"{name}: name it by the noun it is about"


def test_folders_are_families_or_the_web() -> None:
    folders = {path.parent.relative_to(HOUSE).as_posix() for path in FILES.values()}
    assert folders == {".", "stores", "runners", "web", "web/pages", "commands"}


def test_cmd_is_no_package() -> None:
    """An __init__ there would shadow the standard library's cmd, which pdb needs."""
    folder = ROOT / "cmd"
    assert [path.name for path in folder.glob("*.py")] == ["tasker.py"]
    assert len((folder / "tasker.py").read_text("utf-8").splitlines()) == 4
    script = "import cmd, pdb; print(cmd.__file__)"
    assert not said_by(script, cwd=ROOT).startswith(str(ROOT))


@pytest.mark.parametrize("name", sorted(FILES.keys() - EMPTY - {"__main__"}))
def test_every_module_says_what_it_is(name: str) -> None:
    assert ast.get_docstring(TREES[name]), f"{name or 'taskpusher'} has no docstring"


@pytest.mark.parametrize("name", sorted(FILES.keys() - NOT_SPLIT))
def test_no_module_is_too_long(name: str) -> None:
    lines = len(FILES[name].read_text("utf-8").splitlines())
    assert lines <= LONGEST, f"{name} has {lines} lines: split it by what its parts are about"


def test_the_function_that_runs_a_job_stays_small() -> None:
    functions = [node for node in ast.walk(TREES["worker"]) if isinstance(node, ast.AsyncFunctionDef)]
    (run,) = [node for node in functions if node.name == "_run"]
    assert run.end_lineno is not None
    assert run.end_lineno - run.lineno < 25


# ---- what the package gives to others -----------------------------------------------------------------


def test_every_public_name_is_real_and_at_home() -> None:
    assert taskpusher.__all__ == sorted(set(taskpusher.__all__), key=str), "sorted, each once"
    assert {*taskpusher.__all__} == {*taskpusher._HOME, "__version__"}
    for name, module in taskpusher._HOME.items():
        assert getattr(taskpusher, name) is getattr(import_module(f"taskpusher.{module}"), name)
    assert {*taskpusher.__all__} <= {*dir(taskpusher)}
    with pytest.raises(AttributeError, match="has no attribute 'Manager'"):
        _ = taskpusher.Manager  # type: ignore[attr-defined]


def test_type_checkers_see_the_same_names() -> None:
    (block,) = [node for node in TREES[""].body if isinstance(node, ast.If)]
    seen = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == taskpusher._HOME


def test_importing_the_package_loads_nothing_else() -> None:
    script = "import sys, taskpusher; print([m for m in sys.modules if m.startswith('taskpusher')])"
    assert said_by(script, cwd=ROOT) == "['taskpusher']\n"


def test_it_says_that_it_is_typed() -> None:
    assert (HOUSE / "py.typed").exists()
