"""Jobs of the tests on real clusters."""

import uuid
from collections.abc import Callable

from flows.batch.references import Reference
from flows.destinations.scheduler import Scheduler, Status, Submission
from tests.services.slurm import SlurmCluster
from tests.waiting import until

Job = Callable[[str], Submission]
"""Makes a submission of a command."""

WAIT = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done"


def slurm_id(scheduler_id: str) -> str:
    return Reference.parse(scheduler_id).batch_id or ""


async def started(scheduler: Scheduler, job: Submission) -> str:
    scheduler_id = await scheduler.submit(job)
    await until((job.directory / "ledger").exists)
    return scheduler_id


async def remembered_as_running(cluster: SlurmCluster, job_id: str) -> None:
    """Return when the controller has written down that a job runs that has begun.

    What it has not written down when it is killed is forgotten: a job that it remembers as pending, it ends
    and runs again.
    """
    mark, memory = uuid.uuid4().hex, cluster.directory / "slurmctld/job_state"
    cluster.run("scontrol", "update", f"JobId={job_id}", f"Comment={mark}")
    await until(lambda: memory.exists() and mark.encode() in memory.read_bytes())


def failure(end: Status) -> str:
    assert end.failure is not None
    return str(end.failure)
