"""What is asked for arrives, or the job is refused; what slurmrestd is asked is as small as can be."""

import asyncio
import re

import pytest

from flows.errors import DestinationRefused, Unavailable
from tests.flows.slurm.jobs import WAIT, Job, remembered_as_running, slurm_id, started
from tests.flows.slurm.slurmrestd.servers import Make, Paths, instead, really
from tests.flows.submitting import statuses
from tests.services.slurm import SlurmCluster
from tests.waiting import LONG_ENOUGH, until


async def test_gpus(make: Make, slurm_cluster: SlurmCluster, job: Job) -> None:
    scheduler, waiting = make(gpus=1, memory="100M"), job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    said = slurm_cluster.run("scontrol", "show", "job", slurm_id(scheduler_id))
    assert re.search(r"TresPerJob=gres[:/]gpu:1\b", said)
    assert " MinMemoryNode=100M " in said
    await scheduler.cancel(scheduler_id)
    with pytest.raises(DestinationRefused):
        await make(gpus=99).submit(job("true"))


async def test_nothing_runs_without_what_was_asked_for(
    make: Make, slurm_cluster: SlurmCluster, job: Job, of_today: None
) -> None:
    """What slurmrestd does not know it ignores: names are looked up before, and its warnings read."""
    misspelt = job("true")
    with pytest.raises(DestinationRefused, match="does not know gpus and would ignore it"):
        await make(extra_properties={"gpus": "1"}).submit(misspelt)
    assert not slurm_cluster.run("squeue", "-h", "-t", "all", f"--name=a-1.{misspelt.token}")
    inside = job("echo ran >>ledger")
    with pytest.raises(DestinationRefused, match="does not know job/time_minimum/minutes"):
        await make(extra_properties={"time_minimum": {"set": True, "number": 1, "minutes": 1}}).submit(inside)
    states = slurm_cluster.run("squeue", "-h", "-t", "all", f"--name=a-1.{inside.token}", "-o", "%T").split()
    assert len(states) == 1
    assert states[0] in {"CANCELLED", "COMPLETING", "COMPLETED"}


async def test_small_questions(make: Make, slurm_cluster: SlurmCluster, job: Job, of_today: None) -> None:
    """Only what is watched is asked for, and by itself only when its state has changed."""
    paths, scheduler, waiting = Paths(slurm_cluster), make(), job(WAIT)
    others = [await make(extra_properties={"hold": True}).submit(job("true")) for _ in range(3)]
    scheduler_id = await started(scheduler, waiting)
    asked = [paths.all, paths.some, paths.job(scheduler_id)]
    with instead({path: {"side_effect": really} for path in asked}) as mocked:
        watching = asyncio.create_task(statuses(scheduler, scheduler_id))
        await until(lambda: mocked[paths.some].call_count >= 5)
        assert mocked[paths.job(scheduler_id)].call_count == 1
        (waiting.directory / "go").touch()
        assert (await watching)[-1].returncode == 0
        assert mocked[paths.all].call_count == 0
        assert mocked[paths.job(scheduler_id)].call_count <= 3
        answer = really(mocked[paths.some].calls[-1].request).json()
        assert [job["job_id"] for job in answer["jobs"]] == [slurm_id(scheduler_id)]
    for other in others:
        await scheduler.cancel(other)


async def test_a_reason_that_changes_is_told(
    make: Make, slurm_cluster: SlurmCluster, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though the state is the same."""
    monkeypatch.setattr("flows.slurm.rest_queue.READ_AGAIN", 0.5)
    slurm_cluster.set_partition("spare", "DOWN")
    try:
        scheduler = make(partition="spare")
        scheduler_id = await scheduler.submit(job("true"))
        watching = scheduler.watch(scheduler_id)
        async with asyncio.timeout(LONG_ENOUGH):
            while "partition is down" not in ((await anext(watching)).reason or ""):
                pass
            slurm_cluster.run("scontrol", "hold", slurm_id(scheduler_id))
            while "it is held" not in ((await anext(watching)).reason or ""):
                pass
        await scheduler.cancel(scheduler_id)
    finally:
        slurm_cluster.set_partition("spare", "UP")


async def test_the_controller_is_away(make: Make, slurm_cluster: SlurmCluster, job: Job) -> None:
    scheduler, waiting = make(lost_after=0.1), job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    await remembered_as_running(slurm_cluster, slurm_id(scheduler_id))
    try:
        slurm_cluster.slurmctld.kill()
        with pytest.raises(Unavailable, match=r"its controller is away|nable to contact"):
            await scheduler.check()
        with pytest.raises(Unavailable, match="Slurm does not answer"):
            await statuses(scheduler, scheduler_id)
        with pytest.raises(Unavailable, match="does not take the job now"):
            await scheduler.submit(job("true"))
        with pytest.raises(Unavailable, match="Slurm does not answer"):
            await scheduler.end([slurm_id(scheduler_id)])  # type: ignore[attr-defined]
    finally:
        await asyncio.to_thread(slurm_cluster.slurmctld.start)
    (waiting.directory / "go").touch()
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0
    assert (waiting.directory / "ledger").read_text() == "ran\n"
