"""Jobs that go by an object store to a TES server and back, as the steps of a job's flow have it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from flows.destinations.scheduler import Scheduler, Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import FILESYSTEMS, SCHEDULERS
from flows.disk.places import Place
from flows.errors import JobFailure
from flows.filesystems.s3 import Filesystem
from flows.ssh.connections import Connections
from flows.wrapper import verdicts
from tests.flows.submitting import statuses, submission
from tests.services.containers import IMAGE
from tests.services.object_stores import BUCKET

INSTALLATION = "5f0cbb1e-2a6c-4d0c-9d1e-8f6c8a3c4b5d"
KEYS: dict[str, Any] = {
    "type": "tes",
    "block": "tes",
    "image": IMAGE,
    "poll_interval": 0.2,
    "max_poll_interval": 0.5,
    "lost_after": 1.0,
}


@dataclass
class Destination:
    """``make`` again is what another process would have."""

    place: Place
    filesystem: Filesystem

    def scheduler(self, **keys: Any) -> Scheduler:
        configured = SCHEDULERS.configured({**KEYS, **keys}, Path())
        return configured.make(Surroundings(self.place, "here", Connections()))

    async def staged(self, command: str) -> Submission:
        job = replace(submission(self.place, command), installation=INSTALLATION)
        await self.filesystem.stage_in(job.directory, job.token)
        return replace(job, addresses=await self.filesystem.addresses(job.token))

    async def end(self, scheduler: Scheduler, job: Submission, scheduler_id: str) -> int | JobFailure:
        last = (await statuses(scheduler, scheduler_id))[-1]
        assert last.returncode is None
        await self.filesystem.stage_out(job.directory, job.token)
        return last.failure or verdicts.returncode(job.directory)

    async def run(self, scheduler: Scheduler, command: str) -> tuple[int | JobFailure, Path]:
        job = await self.staged(command)
        return await self.end(scheduler, job, await scheduler.submit(job)), job.directory


async def opened(place: Place) -> AsyncIterator[Destination]:
    keys = {"type": "s3", "block": "store", "bucket": BUCKET, "prefix": "tes"}
    made = FILESYSTEMS.configured(keys, Path()).make(Surroundings(place, "here", Connections()))
    assert isinstance(made, Filesystem)
    yield Destination(place, made)
    await made.close()


async def first(scheduler: Scheduler, scheduler_id: str) -> Status:
    return await anext(scheduler.watch(scheduler_id))
