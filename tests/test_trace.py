"""What of a request's trace context is carried, by https://www.w3.org/TR/trace-context/."""

import pytest

from taskpusher.trace import LONGEST_STATE, Trace, carried

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"


def of(parent: str, *states: str) -> Trace | None:
    headers = [(b"traceparent", parent.encode()), *((b"tracestate", state.encode()) for state in states)]
    return carried([(b"host", b"localhost"), *headers])


@pytest.mark.parametrize("parent", [PARENT, f"00-{TRACE}-{SPAN}-00", f" {PARENT}\t"])
def test_a_valid_parent_is_carried(parent: str) -> None:
    assert of(parent) == Trace(parent.strip())


@pytest.mark.parametrize(
    "parent",
    [
        "",
        "nonsense",
        PARENT.upper(),
        PARENT[:-1],
        f"{PARENT}-",
        f"{PARENT}-more",  # nothing may follow in version 00
        f"{PARENT}more",
        f"ff-{TRACE}-{SPAN}-01",
        f"0g-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE[:-1]}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-1",
        f"00-{TRACE}-{SPAN}-01\x00",
        f"cc-{TRACE}-{SPAN}-01more",
        PARENT.replace("-", "_"),
    ],
)
def test_an_invalid_parent_is_ignored_with_its_state(parent: str) -> None:
    assert of(parent, "a=1") is None


def test_two_parents_are_none() -> None:
    assert carried([(b"traceparent", PARENT.encode())] * 2) is None
    assert carried([(b"tracestate", b"a=1")]) is None


@pytest.mark.parametrize("more", ["", "-what", "-"])
def test_a_later_version_is_passed_on_as_ours(more: str) -> None:
    assert of(f"cc-{TRACE}-{SPAN}-01{more}") == Trace(PARENT)


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (["congo=t61rcWkgMzE"], "congo=t61rcWkgMzE"),
        (["a=1, b=2 ,\tc=3"], "a=1,b=2,c=3"),
        (["a=1", "b=2"], "a=1,b=2"),
        (["a=1,,b=2,"], "a=1,b=2"),
        (["tenant@system=1,0_-*/=~!"], "tenant@system=1,0_-*/=~!"),
        (["a=x y"], "a=x y"),
        ([",".join(f"k{n}=v" for n in range(32))], ",".join(f"k{n}=v" for n in range(32))),
    ],
)
def test_a_valid_state_goes_with_it(states: list[str], state: str) -> None:
    assert of(PARENT, *states) == Trace(PARENT, state)


@pytest.mark.parametrize(
    "state",
    [
        "a",
        "a=",
        "=1",
        "A=1",
        "a=1,a=2",
        "a=b=c",
        "a =1",
        "a=\x01",
        "a=é",
        "k" * 257 + "=1",
        "a=" + "v" * 257,
        ",".join(f"k{n}=v" for n in range(33)),
    ],
)
def test_an_invalid_state_is_left_out_and_the_parent_is_not(state: str) -> None:
    assert of(PARENT, "z=9", state) == Trace(PARENT)


def test_of_a_long_state_long_members_go_first_then_the_last_ones() -> None:
    long = "long=" + "v" * 200
    short = [f"k{n:02}={'v' * 26}" for n in range(15)]  # 30 characters each
    found = of(PARENT, ",".join([long, *short, "z=1"]))
    assert found is not None
    assert found.state == ",".join([*short, "z=1"])
    many = of(PARENT, ",".join(f"k{n:02}={'v' * 26}" for n in range(30)))
    assert many is not None
    assert many.state == ",".join(f"k{n:02}={'v' * 26}" for n in range(16))
    assert len(many.state) <= LONGEST_STATE
