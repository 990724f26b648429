"""How it goes, as values: what GET /stats and GET /metrics tell."""

import msgspec

from .job import State
from .stores.base import StoreFigures, Totals
from .tally import Tally


class Stats(msgspec.Struct, frozen=True):
    """How it goes. `rates` are jobs a second by span; `oldest_due` in ms."""

    counts: dict[tuple[State, str], int]
    rates: dict[str, dict[str, float]]
    oldest_due: int | None
    uptime: float  # seconds
    workers: int
    busy: int
    lag: float  # seconds the event loop last came late
    store: StoreFigures


class Glance(msgspec.Struct, frozen=True):
    """What a page shows that is open all day: the cheapest of all to ask for."""

    now: int  # ms
    totals: Totals  # of no queue
    finished: tuple[int, int]  # jobs completed and jobs in error since the start
    workers: int
    busy: int


class Measures(msgspec.Struct, frozen=True):
    """What a monitor asks every few seconds: nothing in it costs more when there are more jobs or queues."""

    now: int  # ms
    totals: Totals
    tally: Tally
    workers: int
    busy: int
    lag: float  # seconds the event loop last came late
    store: StoreFigures
