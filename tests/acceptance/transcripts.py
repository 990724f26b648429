"""Transcripts in the docs: the commands of their console blocks, and whether they say what is written."""

import re

MARK = "-- next --"  # said between two commands that run in one shell
ANYTHING = "…"  # in a transcript: whatever it says, to the end of the line; alone on its line: all the lines


def transcript(text: str) -> list[tuple[str, str]]:
    """(command, what it says), in the order of the page."""
    found: list[tuple[str, str]] = []
    for block in re.findall(r"^```console\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
        for line in block.splitlines(keepends=True):
            if line.startswith("$ "):
                found.append((line[2:].rstrip("\n"), ""))
            else:
                found[-1] = (found[-1][0], found[-1][1] + line)
    return found


def alike(said: str) -> list[str]:
    """The lines without what is another one every time."""
    said = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "UID", said)
    said = re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME", said)
    said = re.sub(r"^in /.*", "in PATH", said, flags=re.MULTILINE)
    said = re.sub(r"localhost:\d+", "localhost", said)
    said = re.sub(r"\d[\d,.]*e-\d+", "N", said)
    said = re.sub(r"(\d[\d,.]*(ms|s|m|h|d)?\b|\d+(?=[hd]\d))+( [KMGT]iB| B)?", "N", said)
    return [" ".join(line.split()) for line in said.splitlines()]


def matches(said: str, written: str) -> bool:
    """As `alike`, where the written one may leave out something."""
    pattern = ""
    for line in alike(written):
        if line == ANYTHING:
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.split(ANYTHING))) + r"\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in alike(said))) is not None
