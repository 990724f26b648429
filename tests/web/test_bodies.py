from collections.abc import Callable
from random import Random
from time import process_time
from urllib.parse import quote_plus, unquote_to_bytes

import pytest

from taskpusher.errors import InvalidField
from taskpusher.push import Defaults, new_job
from taskpusher.web.bodies import content_type, form, json_array, json_lines, json_object, multipart
from taskpusher.web.problems import Problem

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


def one(text: bytes) -> object:
    return new_job(json_object(text), Defaults(), 1)


def many(text: bytes) -> object:
    return json_array(text, 10_000)


def parts(header: bytes) -> object:
    part = b'--b\r\nContent-Disposition: form-data; name="x"' + header + b"\r\n\r\n\r\n"
    return multipart(part * 900 + b"--b--", b"multipart/form-data; boundary=b")


SIZE = 10 * 1024 * 1024
ENDLESS: list[tuple[Callable[[bytes], object], Callable[[], bytes]]] = [
    (lambda text: json_lines(text, 10_000), lambda: b"\n" * SIZE),
    (lambda text: json_lines(text, 10_000), lambda: b"0\n" * (SIZE // 2)),
    (many, lambda: b"[" + b"0," * (SIZE // 2) + b"0]"),
    (many, lambda: b"[" + b"{}," * (SIZE // 3) + b"{}]"),
    (many, lambda: b"[" + b'{"url":"http://a"},' * (SIZE // 19) + b'{"url":"http://a"}]'),
    (one, lambda: b'{"url":[' + b"[]," * (SIZE // 3) + b"[]]}"),
    (one, lambda: b'{"priority":1e999,"a":[' + b"[]," * (SIZE // 3) + b"[]]}"),
    (
        one,
        lambda: (
            b'{"url":"http://a","headers":{' + b",".join(b'"%x":""' % n for n in range(SIZE // 11)) + b"}}"
        ),
    ),
    (one, lambda: b'{"url":"http://a","tags":[' + b",".join(b'"%x"' % n for n in range(SIZE // 9)) + b"]}"),
    (one, lambda: b"{" + b",".join(b'"%x":0' % n for n in range(SIZE // 10)) + b"}"),
    (one, lambda: b"[" * SIZE),
    (form, lambda: b"a=" + b"%" * SIZE),
    (form, lambda: b"a=" + b"%z" * (SIZE // 2)),
    (parts, lambda: b';"' * 2000),
    (content_type, lambda: b"a;" + b'";' * 31_000),
]


@pytest.mark.parametrize(("read", "make"), ENDLESS, ids=range(len(ENDLESS)))
def test_a_body_that_could_never_be_jobs_is_refused_before_it_holds_everybody_up(
    read: Callable[[bytes], object], make: Callable[[], bytes]
) -> None:
    body = make()
    began = process_time()
    with pytest.raises((Problem, InvalidField)):
        read(body)
    assert process_time() - began < 0.4  # seconds; up to 8 if all of it is taken apart


def test_of_a_long_job_that_has_a_field_too_many_that_one_is_named() -> None:
    text = b'{"url": "http://a", "body": "' + b"x" * 200_000 + b'", "retries": 3}'
    with pytest.raises(InvalidField, match=r"retries: .* max_attempts"):
        one(text)


def test_a_long_body_is_as_welcome_as_a_short_one() -> None:
    text = b'{"url": "http://a", "body": "' + b"x,{[" * 200_000 + b'"}'
    assert len(json_object(text)["body"]) == 800_000  # type: ignore[arg-type]
    assert len(json_array(b"[" + text + b"," + text + b"]", 10_000)) == 2


def test_of_a_long_batch_the_first_that_is_no_job_is_named() -> None:
    text = b'[{"url": "http://a"}, {"title": "' + b"," * 2_000_000 + b'"}]'
    with pytest.raises(Problem) as refused:
        many(text)
    assert (refused.value.status, refused.value.index) == (422, 1)
