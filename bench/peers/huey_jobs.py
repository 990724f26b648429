"""Huey: `python huey_jobs.py N` fills; `huey_consumer huey_jobs.huey` works.

In SQLite with a sync for every commit where BENCH_REDIS_PORT is not given.
"""

import os
import sys
from pathlib import Path

from calling import call
from huey import RedisHuey, SqliteHuey

port = os.environ.get("BENCH_REDIS_PORT")
home = Path(os.environ["BENCH_DIRECTORY"])
if port:
    huey = RedisHuey("bench", port=int(port), results=False)
else:
    huey = SqliteHuey("bench", filename=str(home / "huey.db"), fsync=True, results=False)
work = huey.task()(call)


def fill(jobs: int) -> None:
    for _ in range(jobs):
        work()


if __name__ == "__main__":
    from huey_jobs import fill as fill_as_imported  # the task's name holds its module's

    fill_as_imported(int(sys.argv[1]))
