"""At the start: jobs that a dead run of this node held go back to their place, no failure charged."""

import logging
from random import Random

from .attempt import settle
from .callbacks import Callbacks
from .clock import Clock
from .errors import ClaimLost, StoreError
from .events import Events
from .runners.base import Released
from .stores.base import Store

logger = logging.getLogger("taskpusher")

CRASHED = Released("the tasker ended while the job was running", crashed=True)


async def recover(store: Store, clock: Clock, events: Events, callbacks: Callbacks, random: Random) -> None:
    """Take back what an earlier run left running."""
    now = clock.now()
    orphans, _ = await store.orphans(now)
    settled = [settle(job, CRASHED, now, 0.0, random) for job in orphans]
    changes = [await callbacks.along(change) for change in settled]
    writes = [store.write(change) for change in changes]  # each for itself, one commit
    for change, writing in zip(changes, writes, strict=True):
        try:
            await writing
        except (ClaimLost, StoreError) as error:
            logger.info("could not take a job back: %s", error, extra={"uid": change.job.uid})
        else:
            events.settled([change.job], "job taken back")
            events.moved([add.job for add in change.then])
