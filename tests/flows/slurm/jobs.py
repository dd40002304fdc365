"""Jobs of the tests on real clusters."""

from collections.abc import Callable

from flows.destinations.scheduler import Scheduler, Status, Submission
from flows.slurm.references import Reference
from tests.waiting import until

Job = Callable[[str], Submission]
"""Makes a submission of a command."""

WAIT = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done"


def slurm_id(scheduler_id: str) -> str:
    return Reference.parse(scheduler_id).slurm_id or ""


async def started(scheduler: Scheduler, job: Submission) -> str:
    scheduler_id = await scheduler.submit(job)
    await until((job.directory / "ledger").exists)
    return scheduler_id


def failure(end: Status) -> str:
    assert end.failure is not None
    return str(end.failure)
