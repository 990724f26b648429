import sys
from random import Random
from typing import Any

import pytest

from taskpusher.job import ErrorClass, Job, JobError, State, to_record
from taskpusher.stores.base import Query
from taskpusher.stores.sieve import sieve_of
from taskpusher.testing import NOW, a_job

ODD = ["K", "ſ", "İ", "ı", "ß", "ẞ", "Σ", "ς", "σ", "ﬁ", "é", "É", "日本", "🙂", "\x7f", "~", " "]
LETTERS = [*"kKiIsSaAzZ09:/-._", "mail", "Kim", *ODD]


def random_text(random: Random, longest: int = 6) -> str:
    return "".join(random.choice(LETTERS) for _ in range(random.randint(0, longest)))


def random_job(random: Random) -> Job:
    error = JobError(random.choice(list(ErrorClass)), random_text(random, 30))
    return a_job(
        queue=random_text(random) or "q",
        kind=random.choice(["http", "command"]),
        host=random_text(random).lower(),
        target="http://" + random_text(random, 80),
        title=random_text(random, 20),
        tags=tuple(random_text(random) or "t" for _ in range(random.randint(0, 3))),
        key=random_text(random, 70),
        status=random.choice([0, 100, 127, 128, 200, 255, 256, 500, 503]),
        attempt=random.randint(0, 300),
        seq=random.randrange(1 << 40),
        claim=random.randrange(1 << 60),
        body_size=random.choice([0, 500, 70_000]),
        state=random.choice(list(State)),
        error=random.choice([None, error]),
    )


def piece(random: Random, text: str) -> str:
    start = random.randint(0, len(text))
    return text[start : random.randint(start, len(text))]


def random_query(random: Random, job: Job) -> Query:
    """One that may well match the job."""
    told = [job.target, job.title, job.uid, job.queue, job.key, job.host, *job.tags]
    told += [job.error.message, job.error.error_class] if job.error else []
    changed = random.choice([str, str.lower, str.upper, str.title])
    words = [changed(piece(random, random.choice(told))) for _ in range(random.randint(0, 3))]
    every: dict[str, Any] = {
        "queue": job.queue,
        "kind": job.kind,
        "host": job.host,
        "tag": random.choice(job.tags) if job.tags else "",
        "url": job.target[: random.randint(0, len(job.target))],
        "key": job.key,
        "error": job.error.error_class.value if job.error else "",
        "status": random.choice([(job.status, job.status), (job.status - 1, job.status + 1), (0, 0)]),
    }
    fields = {name: value for name, value in every.items() if random.random() < 0.2}
    return Query(**fields, text=" ".join(f'"{word}"' for word in words), masked=random.random() < 0.2)


@pytest.mark.parametrize("seed", range(10))
def test_no_record_of_a_job_that_matches_is_sifted_out(seed: int) -> None:
    random = Random(seed)
    jobs = [random_job(random) for _ in range(40)]
    records = [to_record(job) for job in jobs]
    matched = sifted = 0
    for _ in range(400):
        query = random_query(random, random.choice(jobs))
        sieve = sieve_of(query)
        if sieve is None:
            continue
        for job, record in zip(jobs, records, strict=True):
            if query.matches(job):
                matched += 1
                assert sieve(record), (query, job)
            else:
                sifted += not sieve(record)
    assert matched > 300 and sifted > 3000


def test_a_letter_that_is_lowered_to_ascii_is_found_by_it() -> None:
    for code in range(128, sys.maxunicode + 1):
        letter = chr(code)
        if "\ud800" <= letter <= "\udfff" or not letter.lower()[0].isascii():
            continue
        job = a_job(title=f"x{letter}y")
        query = Query(text=f"x{letter.lower()}y")
        sieve = sieve_of(query)
        assert query.matches(job) and sieve is not None and sieve(to_record(job)), letter


def test_half_a_character_is_in_no_job() -> None:
    sieve = sieve_of(Query(queue="\ud800"))
    assert sieve is not None and not sieve(to_record(a_job(created_ms=NOW)))
