"""Jobs that Slurm runs again: their command does only if it has not come to an end."""

import asyncio
import time
from collections.abc import Callable

import pytest

from flows.destinations.filesystem import guard
from flows.destinations.scheduler import Scheduler
from flows.disk.places import Place
from tests.flows.slurm.jobs import WAIT, slurm_id, started
from tests.flows.slurm.watching import state, states
from tests.flows.submitting import statuses, submission
from tests.services.slurm import SlurmCluster
from tests.waiting import LONG_ENOUGH, until

Make = Callable[..., Scheduler]


async def requeue(cluster: SlurmCluster, number: str) -> None:
    """Have Slurm put the job back into the queue, and wait until it can be started again."""
    cluster.run("scontrol", "requeue", number)
    await until(lambda: state(cluster, number) == "PENDING")
    ended = time.time()
    # Nodes refuse a job that is started again in the second in which it ended.
    await until(lambda: time.time() > ended + 2)


def start_now(cluster: SlurmCluster, number: str) -> None:
    """Start a job that was requeued: Slurm would wait for two minutes."""
    cluster.run("scontrol", "update", f"JobId={number}", "StartTime=now")


async def test_a_requeued_job_goes_on(scheduler: Scheduler, cluster: SlurmCluster, place: Place) -> None:
    job = submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    seen: list[str] = []
    watching = asyncio.create_task(states(scheduler, scheduler_id, seen))
    await until(lambda: seen[-1:] == ["running"])
    number = slurm_id(scheduler_id)
    await requeue(cluster, number)
    await until(lambda: seen[-1:] == ["queued"])
    (job.directory / "go").touch()
    start_now(cluster, number)
    await watching
    assert [state for state in seen if state != "queued"] == ["running", "running", "ended"]
    assert (job.directory / "ledger").read_text() == "ran\nran\n"
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0


@pytest.mark.parametrize(
    ("end", "code"), [("exit 3", 3), ("kill -SEGV $$", 139), ("sh -c 'kill -9 $$'", 137)]
)
async def test_a_command_that_has_ended_does_not_run_again(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place, end: str, code: int
) -> None:
    job = submission(place, f"echo ran >>ledger; {end}")
    scheduler_id = await scheduler.submit(job)
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == code
    number = slurm_id(scheduler_id)
    await until(lambda: state(cluster, number) == "FAILED")
    await requeue(cluster, number)
    start_now(cluster, number)
    await until(lambda: state(cluster, number) == "FAILED")
    said = cluster.run("scontrol", "show", "job", number)
    assert " Restarts=1 " in said
    assert f" ExitCode={code}:0" in said
    assert (job.directory / "ledger").read_text() == "ran\n"
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == code


async def test_a_command_that_slurm_killed_before_its_script_runs_again(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.batch.script.OWN_SIGNAL_AFTER", 600)
    job = submission(place, "echo ran >>ledger; [ -e go ] || kill -9 $$")
    scheduler_id = await started(scheduler, job)
    number = slurm_id(scheduler_id)
    await requeue(cluster, number)
    (job.directory / "go").touch()
    start_now(cluster, number)
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0
    assert (job.directory / "ledger").read_text() == "ran\nran\n"


@pytest.mark.parametrize("code", [3, 139])
async def test_a_job_whose_end_slurm_has_forgotten(
    make: Make, cluster: SlurmCluster, place: Place, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr("flows.batch.scheduling.LOOK_FOR_NOTES", 1.0)
    scheduler, job = make(), submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    number = slurm_id(scheduler_id)
    try:
        seen: list[str] = []
        watching = asyncio.create_task(states(scheduler, scheduler_id, seen))
        await until(lambda: seen[-1:] == ["running"])
        # As the script leaves it.
        (guard(job.directory, job.token) / "returncode").write_text(f"{code}\n")
        await asyncio.wait_for(watching, LONG_ENOUGH)
        assert (await statuses(make(), scheduler_id))[-1].returncode == code
        assert state(cluster, number) == "RUNNING"
        # Slurm runs such jobs again once it notices.
        await requeue(cluster, number)
        start_now(cluster, number)
        await until(lambda: state(cluster, number) == "FAILED")
        assert (job.directory / "ledger").read_text() == "ran\n"
    finally:
        cluster.run("scancel", number)


async def test_a_job_whose_end_slurm_has_forgotten_keeps_no_place(
    make: Make, cluster: SlurmCluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.batch.scheduling.LOOK_FOR_NOTES", 1.0)
    scheduler, job = make(), submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    (guard(job.directory, job.token) / "returncode").write_text("0\n")
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0
    await scheduler.forget(scheduler_id)
    await until(lambda: state(cluster, slurm_id(scheduler_id)) == "CANCELLED")
