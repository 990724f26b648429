"""The names of jobs: UUIDv7 (RFC 9562, 5.7), in the order they were made and not to be guessed."""

import os
import re
import threading

_AHEAD = 256  # random ends made at once: a system call for each uid would cost as much as the uid
_OTHER_BITS = int("3fff" * _AHEAD, 16)  # of the groups of 16 bits that name the variant,
_VARIANT = int("8000" * _AHEAD, 16)  # which is 10 in front
_FORM = re.compile(r"[0-9a-fA-F]{8}(-?)[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{4}\1[0-9a-fA-F]{12}")


class UidMaker:
    """Makes UUIDv7s that only ever grow.

    48 bits of milliseconds, then a counter of 12 bits for the uids of one millisecond (RFC 9562, 6.2,
    method 1; past 4,096 it flows over into the time, which the RFC allows), then 62 random bits. A clock
    that is set back does not set the uids back: they go on from the last one.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._millisecond = self._counter = -1
        self._time = ""  # the millisecond as it is written
        self._tails: list[str] = []  # random ends made ahead

    def make(self, now: int) -> str:
        """A new uid for the moment `now`, milliseconds since 1970 UTC."""
        with self._lock:
            counter = self._counter = self._counter + 1
            if now > self._millisecond or counter > 0xFFF:
                self._millisecond = now = max(now, self._millisecond + 1)
                counter = self._counter = 0
                written = f"{now:012x}"
                self._time = f"{written[:8]}-{written[8:]}-7"
            if not self._tails:
                self._tails = _random_tails()
            return f"{self._time}{counter:03x}-{self._tails.pop()}"

    def forget(self) -> None:
        """Drop the randomness made ahead; after a fork both processes would use the same."""
        self._lock = threading.Lock()
        self._tails.clear()


def _random_tails() -> list[str]:
    """Ends of uids: two bits that name the variant, then 62 random ones."""
    groups = int.from_bytes(os.urandom(2 * _AHEAD)) & _OTHER_BITS | _VARIANT
    variants = groups.to_bytes(2 * _AHEAD).hex("-", 2).split("-")
    return list(map("-".join, zip(variants, os.urandom(6 * _AHEAD).hex("-", 6).split("-"), strict=True)))


_maker = UidMaker()  # one a process: only then do its uids grow whatever the number of pushers
new_uid = _maker.make
os.register_at_fork(after_in_child=_maker.forget)


def parse_uid(text: str) -> str:
    """The uid as it is kept: lower case, with dashes. Any version of UUID will do. Raises ValueError."""
    if not _FORM.fullmatch(text):
        raise ValueError("is not a UUID, like 01890a5d-ac96-774b-bcce-b302099a8057")
    plain = text.replace("-", "").lower()
    return f"{plain[:8]}-{plain[8:12]}-{plain[12:16]}-{plain[16:20]}-{plain[20:]}"
