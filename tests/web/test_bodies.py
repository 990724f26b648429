from random import Random
from urllib.parse import quote_plus, unquote_to_bytes

import pytest

from taskpusher.web.bodies import form

PIECES = [b"%", b"%4", b"%41", b"%c3%bc", b"%C3%BC", b"%ff", b"=", b"==", b"+", b" ", b"\t", b"\n", b"\r\n"]
PIECES += [
    b"_",
    b"%3D",
    b"%3d",
    b"%25",
    b"%2B",
    b"%26",
    b"%\n",
    b"%0D%0A",
    b"%0a",
    b".\r\n",
    b" \n",
    b"\x00",
    b"a",
]


def test_escapes_mean_what_they_mean_everywhere_else() -> None:
    random = Random(3)
    for _ in range(20_000):
        raw = b"".join(random.choices(PIECES, k=random.randint(0, 7)))
        wanted = unquote_to_bytes(raw.replace(b"+", b" "))
        try:
            found = form(b"title=" + raw)["title"]
        except ValueError:
            with pytest.raises(UnicodeDecodeError):
                wanted.decode()
        else:
            assert found == wanted.decode(), raw


def test_any_text_comes_out_of_a_form_as_it_went_in() -> None:
    text = "".join(map(chr, [*range(0x3000), *range(0x1F600, 0x1F640)]))
    assert form(f"{quote_plus(text)}={quote_plus(text)}&empty=&&bare".encode()) == {
        text: text,
        "empty": "",
        "bare": "",
    }
