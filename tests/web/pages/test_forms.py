"""Forms, as browsers send them."""

import httpx
import pytest

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.mark.parametrize(
    ("content", "headers", "status", "said"),
    [
        (b"queue=mail&paused=yes&colour=red", FORM, 422, "colour is not a field of this form"),
        (b"queue=mail&queue=web&paused=yes", FORM, 422, "queue is given twice"),
        (b"queue=%ff&paused=yes", FORM, 400, "can&#39;t be read"),
        (b"\xff", FORM, 400, "can&#39;t be read"),
        (b"&".join(b"a=1" for _ in range(1001)), FORM, 400, "can&#39;t be read"),
        (b'{"queue": "mail"}', {"Content-Type": "application/json"}, 415, "x-www-form-urlencoded"),
        (b"queue=mail", {}, 415, "x-www-form-urlencoded"),
        (b"queue=" + b"a" * 5000, FORM, 413, "longer than 4096 bytes"),
        (b"", {}, 422, "queue must be a string"),
    ],
)
async def test_what_is_no_form_of_ours_is_refused(
    browser: httpx.AsyncClient, content: bytes, headers: dict[str, str], status: int, said: str
) -> None:
    answer = await browser.post("/tasks/queues", content=content, headers=headers)
    assert answer.status_code == status
    assert said in answer.text
    assert (await browser.get("/queues")).json() == {"queues": []}


async def test_a_long_form_is_read_too(browser: httpx.AsyncClient) -> None:
    fields = {"url": "http://a.example/", "body": "ü" * 40_000, "delay": "1h"}
    answer = await browser.post("/tasks/new", data=fields)
    assert answer.status_code == 303
    job = (await browser.get(answer.headers["location"].replace("/tasks/", "/job/"))).json()
    assert job["body"] == fields["body"]


async def test_a_query_of_a_form_is_refused(browser: httpx.AsyncClient) -> None:
    answer = await browser.post("/tasks/queues?paused=yes", data={"queue": "mail", "paused": "yes"})
    assert (answer.status_code, "paused is not a field of this query" in answer.text) == (422, True)
