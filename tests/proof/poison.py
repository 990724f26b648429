"""A job that takes its process down: set aside after three times, the others go on.

Of kinds that run code of ours. A URL job runs none: it is never set aside. What ran beside it in all three is
set aside too, since nobody knows which one it was; here one job runs at a time.
"""

import json
import subprocess
import sys
import tempfile

from . import Proof

OTHERS = {"quick": 20, "night": 1000}
MOST_STARTS = 10

# An app that embeds a TaskPusher with a kind of its own, whose job `die` ends the process like a crash does.
APP = """
import asyncio, json, os, sys
from taskpusher import LmdbStore, TaskPusher
from taskpusher.job import Job, Result, State
from taskpusher.runners.base import Success
from taskpusher.stores.base import Add, Query
from taskpusher.uid import new_uid

LIVE = {State.WAITING, State.RUNNING}

class Runner:
    async def run(self, held):
        if held.job.target == "die":
            os._exit(9)
        return Success(Result())
    async def close(self):
        pass

async def main():
    async with TaskPusher(LmdbStore(sys.argv[1]), {"python": Runner()}, concurrency=1) as pusher:
        if sys.argv[2] != "0":
            now = pusher.clock.now()
            jobs = ["die", *["live"] * int(sys.argv[2])]
            made = [Job(uid=new_uid(now), kind="python", target=one, due_ms=now) for one in jobs]
            await pusher.add(*map(Add, made))
        while LIVE & {state for (state, _), n in (await pusher.counts()).items() if n}:
            await asyncio.sleep(0.01)
        page = await pusher.page(Query(State.ERROR))
        counts = {state.value: n for (state, _), n in (await pusher.counts()).items()}
        print(json.dumps([counts, [[job.target, job.crashes, job.error.error_class] for job in page.jobs]]))
asyncio.run(main())
"""


def prove(size: str, seed: int, deadline: float) -> Proof:
    others, deaths = OTHERS[size], 0
    with tempfile.TemporaryDirectory() as name:
        for start in range(MOST_STARTS):
            line = [sys.executable, "-c", APP, f"{name}/db", str(0 if start else others)]
            done = subprocess.run(line, capture_output=True, text=True, check=False)
            if done.returncode != 9:
                break
            deaths += 1
    if done.returncode:
        return Proof(f"the app ended with {done.returncode}", False, [done.stderr])
    counts, errors = json.loads(done.stdout)
    done_well = counts.get("completed", 0)
    figure = f"set aside after {deaths} crashes: {errors}; of the others {done_well} of {others} done"
    ok = deaths == 3 and counts == {"completed": others, "error": 1} and errors[0][2] == "crashed"
    return Proof(figure, ok)
