"""Commands handed to schedulers, and what becomes of them."""

import asyncio
import uuid
from pathlib import Path

from flows.destinations.scheduler import Scheduler, Status, Submission
from flows.disk.places import Place
from tests.waiting import LONG_ENOUGH


def submission(place: Place, command: str, *, submitter: str = "me", job_id: int = 1) -> Submission:
    token = str(uuid.uuid4())
    directory = place.job_root / token
    directory.mkdir(parents=True)
    return Submission(
        token=token,
        job_id=job_id,
        application="a",
        submitter=submitter,
        command=command,
        directory=directory,
    )


async def statuses(scheduler: Scheduler, scheduler_id: str) -> list[Status]:
    async with asyncio.timeout(LONG_ENOUGH):
        return [status async for status in scheduler.watch(scheduler_id)]


async def run(scheduler: Scheduler, place: Place, command: str) -> tuple[Status, Path]:
    job = submission(place, command)
    seen = await statuses(scheduler, await scheduler.submit(job))
    assert [status.state for status in seen][-1] == "ended"
    return seen[-1], job.directory


def has_ended(pid: int) -> bool:
    try:
        return "zombie" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


# A child has the trap; the shell of the command, which has none, ends at once.
CLEANS_UP = """sh -c '
    trap "sleep 1; echo cleaned >cleaned.txt; exit" TERM
    echo >ready
    while :; do sleep 0.05; done'"""


GOES_ON = "sh -c 'trap \"echo >told\" TERM; echo >ready; while :; do sleep 0.05; done'"


WAITS = "echo >ready; while [ ! -e go ]; do sleep 0.05; done"
