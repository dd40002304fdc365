"""Jobs on another cluster than the host's own: all commands are turned to it by its name."""

from collections.abc import Callable

import pytest

from flows.destinations.scheduler import Scheduler, Shared
from flows.disk.places import Place
from flows.errors import JobCancelled, Unavailable
from tests.flows.recorder import Recorder
from tests.flows.slurm.jobs import WAIT, slurm_id, started
from tests.flows.submitting import run, statuses, submission
from tests.services.slurm import SlurmCluster
from tests.waiting import until

Make = Callable[..., Scheduler]


def known(cluster: SlurmCluster, token: str) -> str:
    return cluster.run("squeue", "-h", "-t", "all", f"--name=a-1.{token}", "-o", "%T").strip()


@pytest.fixture
def other(second_cluster: SlurmCluster, make: Make, scheduler: Scheduler) -> Scheduler:
    """Asked with the configuration of the first cluster."""
    return make(cluster=second_cluster.cluster_name, lost_after=0.5)


async def test_a_job_runs_there_alone(
    other: Scheduler, cluster: SlurmCluster, second_cluster: SlurmCluster, place: Place
) -> None:
    job = submission(place, f"{WAIT}; exit 3")
    scheduler_id = await started(other, job)
    assert (known(cluster, job.token), known(second_cluster, job.token)) == ("", "RUNNING")
    await other.check()
    assert isinstance(other, Shared)
    assert job.token in {listed.token for listed in await other.under_way()}
    assert await other.submit(job) == scheduler_id
    (job.directory / "go").touch()
    assert (await statuses(other, scheduler_id))[-1].returncode == 3
    assert await other.submit(job) == scheduler_id


async def test_cancel_there(other: Scheduler, second_cluster: SlurmCluster, place: Place) -> None:
    job = submission(place, WAIT)
    scheduler_id = await started(other, job)
    await other.cancel(scheduler_id)
    assert known(second_cluster, job.token) == "CANCELLED"
    assert isinstance((await statuses(other, scheduler_id))[-1].failure, JobCancelled)


async def test_its_accounting_is_asked(
    other: Scheduler, make: Make, host: Recorder, second_cluster: SlurmCluster, place: Place
) -> None:
    end, _ = await run(other, place, "kill -9 $PPID")
    assert end.failure is not None
    job = submission(place, "kill -9 $PPID")
    scheduler_id = await other.submit(job)
    await statuses(other, scheduler_id)
    await until(
        lambda: "FAILED" in second_cluster.run("sacct", "-Xn", "-j", slurm_id(scheduler_id), "-o", "State")
    )
    host.before = "squeue() { :; }\n"
    again = make(cluster=second_cluster.cluster_name)
    assert "was killed" in str((await statuses(again, scheduler_id))[-1].failure)


async def test_a_cluster_that_there_is_not(make: Make, cluster: SlurmCluster, place: Place) -> None:
    """It may be there later: the database of clusters is asked each time."""
    nowhere = make(cluster="nowhere")
    with pytest.raises(Unavailable, match="No cluster 'nowhere' known"):
        await nowhere.check()
    with pytest.raises(Unavailable, match="nowhere"):
        await nowhere.submit(submission(place, "true"))
