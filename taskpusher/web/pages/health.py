"""Is it healthy, and if not, why: what the overview says first."""

from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

from ...groups import HostFigures
from ...stats import Stats
from ...stores.base import QueueFigures
from ...wording import short, size

Level = Literal["good", "warn", "bad"]

LATE = 60.0  # seconds that a due job may wait before it is worth a word
VERY_LATE = 600.0
FEW = 5  # calls that tell nothing yet
OFTEN, MOSTLY = 0.1, 0.5  # parts that fail
FIVE_MINUTES = 300.0  # seconds
LITTLE = 1 << 30  # bytes free on the disk
SLOW_COMMIT = 0.25  # seconds
MOST_NAMED = 3  # queues or hosts that are named one by one


class Finding(NamedTuple):
    """One thing to look at; `path` is the page that shows it, below the prefix."""

    level: Level
    text: str
    path: str = ""


class Verdict(NamedTuple):
    level: Level
    title: str
    detail: str
    findings: list[Finding]


def verdict(
    stats: Stats,
    queues: Sequence[QueueFigures],
    hosts: Sequence[HostFigures],
    *,
    now: int,
    ready: bool,
    blocked: bool,
    commit: float | None,
) -> Verdict:
    """`commit`: seconds within which 99 % of the commits were done; None where there were none."""
    findings = [
        *_stopping(ready),
        *_store(stats, commit),
        *_loop(blocked),
        *_failing(stats),
        *_late(stats, queues, now),
        *_paused(queues),
        *_hosts(hosts),
    ]
    findings.sort(key=lambda finding: finding.level != "bad")
    if not findings:
        return Verdict("good", "Healthy", _quiet(stats), [])
    level: Level = "bad" if findings[0].level == "bad" else "warn"
    number = len(findings)
    title = "One thing to look at" if number == 1 else f"{number} things to look at"
    return Verdict(level, title, "", findings)


def _quiet(stats: Stats) -> str:
    rates = stats.rates["5m"]
    if rates["completed"]:
        return (
            f"{rates['completed']:.3g} jobs a second completed over the last five minutes; nothing is late."
        )
    if stats.busy:
        return f"{stats.busy} of {stats.workers} workers are busy; nothing is late."
    return "Nothing is due."


def _stopping(ready: bool) -> Iterable[Finding]:
    if not ready:
        yield Finding("warn", "The tasker is stopping: what is pushed now runs after its next start.")


def _store(stats: Stats, commit: float | None) -> Iterable[Finding]:
    store = stats.store
    if store.full:
        text = f"The store is full, pushes are refused: make room on the disk of {store.path or 'the store'}."
        yield Finding("bad", text, "/tasks/system")
    elif store.size and store.disk_free < LITTLE:  # a store in memory has neither
        yield Finding("warn", f"Only {size(store.disk_free)} are free on the store's disk.", "/tasks/system")
    if commit is not None and commit > SLOW_COMMIT:
        yield Finding("warn", f"The disk is slow: one commit in a hundred takes {short(commit)} or more.")


def _loop(blocked: bool) -> Iterable[Finding]:
    if blocked:
        yield Finding("bad", "The event loop was blocked for 5 s within the last minute.", "/tasks/system")


def _failing(stats: Stats) -> Iterable[Finding]:
    rates = stats.rates["5m"]
    ended = rates["completed"] + rates["errors"]
    part = rates["errors"] / ended if ended else 0.0
    if part >= OFTEN and round(rates["errors"] * min(FIVE_MINUTES, stats.uptime)) >= FEW:
        text = f"{part:.0%} of the jobs that ended within the last five minutes failed."
        yield Finding("bad" if part >= MOSTLY else "warn", text, "/tasks/errors")


def _late(stats: Stats, queues: Sequence[QueueFigures], now: int) -> Iterable[Finding]:
    """Due jobs that wait, of queues that may run."""
    for one in _worst(queues, now):
        late = (now - (one.oldest_due or now)) / 1000
        if late < LATE:
            continue
        limit = one.rule.concurrency
        if limit and one.running >= limit:
            why = f"at its concurrency of {limit}"
        elif stats.busy >= stats.workers:
            why = f"all {stats.workers} workers are busy: raise --concurrency, or look at what runs long"
        else:
            why = "its hosts may be at their cap"
        text = f"Jobs of the queue {one.rule.name} are {short(late)} late, {why}."
        yield Finding("bad" if late >= VERY_LATE else "warn", text, "/tasks/queues")


def _worst(queues: Sequence[QueueFigures], now: int) -> list[QueueFigures]:
    running = [one for one in queues if one.oldest_due is not None and not one.rule.paused]
    return sorted(running, key=lambda one: one.oldest_due or now)[:MOST_NAMED]


def _paused(queues: Sequence[QueueFigures]) -> Iterable[Finding]:
    held = sorted((one for one in queues if one.rule.paused and one.waiting), key=lambda one: -one.waiting)
    for one in held[:MOST_NAMED]:
        jobs = "job waits" if one.waiting == 1 else "jobs wait"
        text = f"The queue {one.rule.name} is paused; {one.waiting:,} {jobs} in it."
        yield Finding("warn", text, "/tasks/queues")


def _hosts(hosts: Sequence[HostFigures]) -> Iterable[Finding]:
    failing = [one for one in hosts if one.errors >= FEW and one.rate >= MOSTLY]
    for one in sorted(failing, key=lambda one: -one.errors)[:MOST_NAMED]:
        text = f"{one.host} fails: {one.errors} of its newest {one.ended} jobs ended in error."
        yield Finding("bad", text, "/tasks/hosts")
