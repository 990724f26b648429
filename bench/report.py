"""The report, made of what was measured: the tables go into report.md, the charts beside it."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from string import Template

from . import charts
from .bars import BARS
from .plan import LIMITS
from .results import Figures, figures, shown

RESULTS, PAGE, PEERS, GROWTH = "benchmarks.json", "benchmarks.md", "benchmarks.svg", "growth.svg"
BARE_THERE = 21_800  # pushes a second, of a bare Starlette handler with 32 connections
TEMPLATE = Path(__file__).with_name("report.md")

BUSY = 0.2  # cores that something else may use while the bench waits, for figures to count

Row = Sequence[object]


def write(out: Path, results: Figures) -> None:
    """The page and the charts, into the directory `out`."""
    (out / PAGE).write_text(page(results), "utf-8")
    (out / PEERS).write_text(charts.peers(results), "utf-8")
    (out / GROWTH).write_text(charts.growth(results), "utf-8")


def page(results: Figures) -> str:
    tables = {part: _part(results, part, make) for part, make in _TABLES.items()}
    tables |= {"bars": bars(results), "machine": _machine(results), "runs": _runs(results)}
    return Template(TEMPLATE.read_text("utf-8")).substitute(tables)


def bars(results: Figures) -> str:
    rows = []
    for bar in BARS:
        found, reached = bar.measured(results), bar.reached(results)
        limit = f"{'at most' if bar.at_most else 'at least'} {shown(bar.limit)} {bar.unit}".rstrip()
        said = {True: "yes", False: "**no**", None: ""}[reached]
        rows.append((bar.what, limit, "not measured" if found is None else shown(found), said))
    return table(("", "bar", "measured", "reached"), rows) + _yardstick(results) + _warning(results)


def _yardstick(results: Figures) -> str:
    """How fast this machine is beside the one that the bars were set on."""
    found = figures(results, "add")
    if found is None:
        return ""
    return (
        "\nThe bars were set on a machine whose bare handler, which stores nothing, answered "
        f"{shown(BARE_THERE)} pushes a second; here it answered {shown(found['bare']['rate']['median'])}.\n"
    )


def _warning(results: Figures) -> str:
    busy = [name for name, part in results["parts"].items() if part["others"] > BUSY]
    if not busy:
        return ""
    return (
        f"\n**The machine was not quiet** ({', '.join(sorted(busy))}): read the ratios, and those loosely.\n"
    )


# ---- the parts ----------------------------------------------------------------------------------------


def _part(results: Figures, part: str, make: Callable[[Figures], str]) -> str:
    found = figures(results, part)
    if found is not None:
        return make(found)
    tried = results["parts"].get(part, {})
    reason = tried.get("error") or tried.get("left_out")
    return f"Not measured: {reason}.\n" if reason else "Not measured.\n"


def _peers(found: Figures) -> str:
    jobs = f"{found['jobs']:,}"
    ours = (
        "**TaskPusher**",
        "one process",
        found["in_flight"],
        jobs,
        f"**{spread(found['tasker'])}**",
        "",
        "",
    )
    rows: list[Row] = [ours]
    for one in found["peers"]:
        rate = f"left out: {one['skipped']}" if one["skipped"] else spread(one["rate"])
        times = spread(one["times"]) if one["times"] and not one["skipped"] else ""
        every = spread(one["everysec"]) if one["everysec"] else ""
        name = f"{one['name']} ({one['package']} {one['version']})"
        rows.append((name, one["setting"], one["in_flight"], f"{one['jobs']:,}", rate, times, every))
    head = ("", "set up as", "in flight", "jobs", "jobs/s", "TaskPusher, times that", "one sync a second")
    return table(head, rows)


def _drain(found: Figures) -> str:
    rows = []
    for in_flight, one in sorted(found["in_flight"].items(), key=lambda item: int(item[0])):
        rows.append((in_flight, *(spread(one[name]) for name in ("tasker", "pipeline", "ratio", "cpu_us"))))
    head = ("in flight", "jobs/s", "bare pipeline", "ratio", "CPU a job, µs")
    return f"{found['jobs']:,} jobs.\n\n" + table(head, rows)


def _add(found: Figures) -> str:
    rows = [
        (name, *(spread(found[key][field]) for field in ("rate", "p50_ms", "p99_ms")))
        for name, key in (("tasker", "tasker"), ("bare handler", "bare"))
    ]
    clients = f"{found['connections']} keep-alive connections of {found['client']} on the same machine"
    ratio = f"\nThe tasker takes {spread(found['ratio'])} of what the bare handler takes.\n"
    return f"{clients}.\n\n" + table(("", "pushes/s", "p50, ms", "p99, ms"), rows) + ratio


def _bulk(found: Figures) -> str:
    row = [spread(found[name]) for name in ("rate", "p50_ms", "p99_ms")]
    return f"Over {found['connections']} connections.\n\n" + table(
        ("jobs/s", "the other client's p50, ms", "p99, ms"), [row]
    )


def _latency(found: Figures) -> str:
    row = [found["rate"], *(spread(found[name]) for name in ("p50_ms", "p99_ms", "max_ms"))]
    return table(("pushes/s", "p50, ms", "p99, ms", "longest, ms"), [row])


def _growth(found: Figures) -> str:
    columns = {
        "memory, MB": "memory_mb",
        "disk a job, bytes": "bytes_a_job",
        "page, ms": "first_page_ms",
        "deep page, ms": "deep_page_ms",
        "ready, s": "ready_s",
        "first call, s": "first_call_s",
        "drain, jobs/s": "drain",
        "of the first row's": "drain_share",
    }
    rows = []
    for one in [*sorted(found["waiting"].values(), key=lambda one: one["jobs"]), found["lanes"]]:
        queues = f" in {one['queues']:,} queues" if one["queues"] > 1 else ""
        rows.append((f"{one['jobs']:,}{queues}", *(spread(one[field]) for field in columns.values())))
    drained = f"\nDrained are the first {found['drained']:,}, or all where there are fewer.\n"
    return table(("waiting", *columns), rows) + drained


def _churn(found: Figures) -> str:
    columns = {
        "jobs": "jobs",
        "jobs/s": "rate",
        "file early, MB": "early_mb",
        "late, MB": "late_mb",
        "ratio": "late_to_early",
        "pause p99, ms": "pause_p99_ms",
        "longest pause, ms": "pause_max_ms",
        "lag in `/stats`, ms": "lag_max_ms",
    }
    return table(tuple(columns), [[shown(found[field]) for field in columns.values()]])


def _pages(found: Figures) -> str:
    busy, drain = found["drain"]["pages"], found["drain"]
    rows = [(name, *_page(one), *_page(busy.get(name))[:2]) for name, one in found["pages"].items()]
    head = ("page", "median, ms", "longest, ms", "kB", "median in a drain, ms", "longest in a drain, ms")
    told = (
        f"\nThe drain ran {shown(drain['alone'])} jobs/s while nobody looked, {shown(drain['rate'])} jobs/s "
        "while one reader looked without a pause.\n\n"
    )
    return f"{found['jobs']:,} jobs.\n\n" + table(head, rows) + told + _tabs(found["tabs"]) + _pushes(found)


def _page(one: Figures | None) -> tuple[str, str, str]:
    """Median, longest, kB; nothing of a page that was not looked at."""
    if one is None:
        return "", "", ""
    return shown(one["median_ms"]), shown(one["max_ms"]), shown(one["bytes"] / 1000)


def _tabs(tabs: Figures) -> str:
    rows = []
    for number, one in sorted(tabs.items(), key=lambda item: int(item[0])):
        often = one["looks"] / one["seconds"]
        rows.append((number, shown(one["idle_percent"]), shown(one["moving_percent"]), shown(often)))
    head = ("open tabs", "% of a core, idle", "% of a core, 20 pushes a second", "looks a second then")
    return table(head, rows)


def _pushes(found: Figures) -> str:
    alone, beside = found["pushes"]["alone"], found["pushes"]["beside"]
    often = f"one reader looks {shown(round(beside['pages_s']))} times a second, without a pause"
    rows = [
        (name, *(shown(one[field]) for field in ("p50_ms", "p99_ms", "max_ms")))
        for name, one in (("nobody looks", alone), (often, beside))
    ]
    return "\n" + table(("`POST /add` while", "p50, ms", "p99, ms", "longest, ms"), rows)


def _idle(found: Figures) -> str:
    calls = "not counted" if found["system_calls"] is None else found["system_calls"]
    row = (shown(found["seconds"]), found["wake_ups"], shown(found["cpu_seconds"]), calls)
    return table(("seconds", "wake-ups", "CPU, s", "system calls in as long again, under strace"), [row])


_TABLES: Mapping[str, Callable[[Figures], str]] = {
    "peers": _peers,
    "drain": _drain,
    "add": _add,
    "bulk": _bulk,
    "latency": _latency,
    "growth": _growth,
    "churn": _churn,
    "idle": _idle,
    "pages": _pages,
}


# ---- where it was measured ----------------------------------------------------------------------------


def _machine(results: Figures) -> str:
    machine = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in sorted(results["versions"].items()))
    disk = f"{machine['file_system']}; a synced write of 4 KiB takes {shown(machine['sync_ms'])} ms"
    rows = [
        ("processor", f"{machine['cores']} cores, {machine['cpu']}"),
        ("memory", f"{machine['memory_gib']} GiB"),
        ("system", machine["system"]),
        ("file system", disk),
        ("versions", versions),
    ]
    return table(("", ""), rows)


def _runs(results: Figures) -> str:
    parts = results["parts"]
    rows = [
        (name, *(parts[name][field] for field in ("size", "taken", "load", "others", "seconds")))
        for name in LIMITS
        if name in parts
    ]
    return table(("part", "size", "taken", "load before", "cores busy before", "seconds"), rows)


# ---- words --------------------------------------------------------------------------------------------


def table(head: Row, rows: Sequence[Row]) -> str:
    return "".join(_line(line) for line in (head, ["---"] * len(head), *rows))


def _line(cells: Row) -> str:
    words = (" ".join(str(cell).split()).replace("|", "\\|") for cell in cells)
    return "| " + " | ".join(words) + " |\n"


def spread(one: Figures) -> str:
    """The median, and between what the rounds were."""
    if one["rounds"] == 1:
        return shown(one["median"])
    return f"{shown(one['median'])} ({shown(one['low'])}–{shown(one['high'])})"
