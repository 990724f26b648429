import re
import uuid
from threading import Thread

import pytest

from taskpusher.uid import UidMaker, new_uid, parse_uid

NOW = 1_800_000_000_000


def test_a_uid_is_a_version_7_uuid_of_the_moment() -> None:
    found = uuid.UUID(new_uid(NOW))
    assert (found.version, found.variant) == (7, uuid.RFC_4122)
    assert UidMaker().make(NOW).replace("-", "")[:12] == f"{NOW:012x}"


def test_uids_only_grow_even_when_the_clock_is_set_back() -> None:
    maker = UidMaker()
    made = [maker.make(NOW + step) for step in (0, 0, 1, -5, -10_000, 2)]
    assert made == sorted(made)
    assert len(set(made)) == len(made)


def test_more_uids_than_a_millisecond_counts_flow_over_into_the_next() -> None:
    maker = UidMaker()
    made = [maker.make(NOW) for _ in range(10_000)]
    assert made == sorted(made)
    assert len(set(made)) == 10_000
    assert all(re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", one) for one in made)


def test_the_ends_of_uids_are_random() -> None:
    maker = UidMaker()
    ends = [int(maker.make(NOW)[-17:].replace("-", ""), 16) for _ in range(2_000)]
    for bit in range(62):
        ones = sum(end >> bit & 1 for end in ends)
        assert 800 < ones < 1_200, f"bit {bit} is set in {ones} of 2,000"


def test_threads_never_get_the_same_uid() -> None:
    maker = UidMaker()
    made: list[list[str]] = [[] for _ in range(4)]

    def make(into: list[str]) -> None:
        into.extend(maker.make(NOW) for _ in range(2_000))

    threads = [Thread(target=make, args=(into,)) for into in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({one for into in made for one in into}) == 8_000
    assert all(into == sorted(into) for into in made)


def test_what_was_made_ahead_is_not_used_after_a_fork() -> None:
    maker = UidMaker()
    maker.make(NOW)
    ahead = list(maker._tails)
    maker.forget()
    assert maker.make(NOW)[-17:] not in [tail[-17:] for tail in ahead]


@pytest.mark.parametrize(
    "text",
    [
        "01890A5D-AC96-774B-BCCE-B302099A8057",
        "01890a5dac96774bbcceb302099a8057",
        "01890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_any_way_to_write_a_uuid_is_kept_one_way(text: str) -> None:
    assert parse_uid(text) == "01890a5d-ac96-774b-bcce-b302099a8057"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "01890a5d-ac96-774b-bcce-b302099a805",
        "01890a5d-ac96-774b-bcce-b302099a8057\n",
        "01890a5d-ac96774bbcceb302099a8057",
        "{01890a5d-ac96-774b-bcce-b302099a8057}",
        "01890a5d-ac96-774b-bcce-b302099a805٧",
        "g1890a5d-ac96-774b-bcce-b302099a8057",
    ],
)
def test_what_is_no_uuid_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a UUID"):
        parse_uid(text)
