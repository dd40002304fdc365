"""While parts of the cluster are away, jobs are neither ended nor run twice."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from flows.destinations.scheduler import Scheduler, Status
from flows.disk.places import Place
from flows.errors import DestinationFailed, Unavailable
from tests.flows.recorder import Recorder
from tests.flows.slurm.jobs import WAIT, failure, remembered_as_running, slurm_id, started
from tests.flows.submitting import statuses, submission
from tests.services.slurm import SlurmCluster
from tests.waiting import LONG_ENOUGH, until

Make = Callable[..., Scheduler]

PURGED = "squeue() { :; }\n"
"""The controller answers and does not know the jobs any more; accounting is what it is."""


@pytest.fixture(scope="module", autouse=True)
def short_of_patience(slurm_cluster: SlurmCluster) -> Iterator[None]:
    """Slurm's commands give up earlier, so that the tests take less time."""
    slurm_cluster.configure(MessageTimeout="2")
    yield
    slurm_cluster.configure(MessageTimeout="10")


async def patiently(scheduler: Scheduler, scheduler_id: str, complaints: list[str]) -> Status:
    """As the flow does."""
    async with asyncio.timeout(LONG_ENOUGH):
        while True:
            try:
                seen = [status async for status in scheduler.watch(scheduler_id)]
            except Unavailable as error:
                complaints.append(str(error))
            else:
                return seen[-1]


async def test_the_controller_is_killed_and_comes_back(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place
) -> None:
    jobs = [submission(place, f"{WAIT}; exit {code}") for code in range(3)]
    ids = [await started(scheduler, job) for job in jobs]
    complaints: list[str] = []
    watching = [asyncio.create_task(patiently(scheduler, i, complaints)) for i in ids]
    for scheduler_id in ids:
        await remembered_as_running(cluster, slurm_id(scheduler_id))
    try:
        cluster.slurmctld.kill()
        (jobs[0].directory / "go").touch()
        await until(lambda: bool(complaints))
        assert not any(task.done() for task in watching)
    finally:
        await asyncio.to_thread(cluster.slurmctld.start)
    for job in jobs:
        (job.directory / "go").touch()
    ends = await asyncio.gather(*watching)
    assert [end.returncode for end in ends] == [0, 1, 2]
    assert [(job.directory / "ledger").read_text() for job in jobs] == ["ran\n"] * 3
    assert all("slurm" in text.lower() for text in complaints)


async def test_what_the_controller_does_not_know_any_more_is_in_accounting(
    make: Make, host: Recorder, cluster: SlurmCluster, place: Place
) -> None:
    scheduler = make(lost_after=600.0)
    killed, well = submission(place, "kill -9 $PPID"), submission(place, "exit 3")
    ids = [await scheduler.submit(job) for job in (killed, well)]
    for scheduler_id in ids:
        await statuses(scheduler, scheduler_id)
    host.before = PURGED
    assert (await statuses(make(), ids[1]))[-1] == Status(state="ended", returncode=3)
    # Accounting learns of it after some seconds, and says strange things until then.
    end = await patiently(make(), ids[0], [])
    assert "was killed" in failure(end)
    # A submission that is repeated now finds the job there, too.
    assert await make().submit(well) == ids[1]


async def test_without_controllers_memory_and_accounting_the_note_counts(
    make: Make, host: Recorder, cluster: SlurmCluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = make(lost_after=0.5)
    job, runs = submission(place, "exit 3"), submission(place, WAIT)
    scheduler_id, running = await scheduler.submit(job), await started(scheduler, runs)
    await statuses(scheduler, scheduler_id)
    await asyncio.to_thread(cluster.slurmdbd.kill)
    try:
        host.before = PURGED
        again = make(lost_after=0.5)
        assert (await statuses(again, scheduler_id))[-1] == Status(state="ended", returncode=3)
        assert await again.submit(job) == scheduler_id  # by the note of its script
        # Of what runs nobody knows anything now: that is no end, however long it lasts.
        watching = asyncio.create_task(statuses(again, running))
        asked = len(host.commands)
        await until(lambda: len(host.commands) > asked + 8 or watching.done())
        assert not watching.done()
        with monkeypatch.context() as patch:
            patch.setattr("flows.batch.conclusions.VISIBLE_AFTER", 0.1)
            with pytest.raises(Unavailable, match="nothing certain"):  # and the visitor reads so
                await watching
        watching = asyncio.create_task(statuses(again, running))
        host.before = ""
        (runs.directory / "go").touch()
        assert (await watching)[-1].returncode == 0
    finally:
        await asyncio.to_thread(cluster.slurmdbd.start)


async def test_what_is_lost_before_it_began_is_submitted_again_and_runs_once(
    make: Make, host: Recorder, cluster: SlurmCluster, place: Place
) -> None:
    """Also where the one that seemed lost comes back: one of the two gives way."""
    scheduler = make(lost_after=0.5, partition="spare")
    job = submission(place, "echo ran >>ledger")
    cluster.set_partition("spare", "DOWN")
    try:
        first = await scheduler.submit(job)
        host.before = PURGED
        assert (await statuses(scheduler, first))[-1] == Status(state="lost")
        second = await scheduler.submit(job)
        assert second != first
        host.before = ""
    finally:
        cluster.set_partition("spare", "UP")
    assert (await statuses(scheduler, second))[-1] == Status(state="ended", returncode=0)

    def queue_is_empty() -> bool:
        return not cluster.run("squeue", "-h")

    await until(queue_is_empty)
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_a_cluster_without_accounting(
    make: Make,
    slurm_without_accounting: SlurmCluster,
    host: Recorder,
    place: Place,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    slurm_without_accounting.use(monkeypatch)
    scheduler = make(lost_after=0.5)
    job, lost = submission(place, "exit 3"), submission(place, WAIT)
    scheduler_id, lost_id = await scheduler.submit(job), await started(scheduler, lost)
    assert (await statuses(scheduler, scheduler_id))[-1] == Status(state="ended", returncode=3)
    assert await scheduler.submit(job) == scheduler_id
    host.before = PURGED
    assert (await statuses(make(), scheduler_id))[-1] == Status(state="ended", returncode=3)
    end = (await statuses(make(lost_after=0.5), lost_id))[-1]
    assert isinstance(end.failure, DestinationFailed)
    host.before = ""
    await scheduler.cancel(lost_id)


async def test_nothing_is_submitted_while_the_controller_is_frozen(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place
) -> None:
    """sbatch fails, and the job may be accepted nevertheless."""
    await scheduler.check()
    job = submission(place, "echo ran >>ledger")
    cluster.slurmctld.freeze()
    try:
        with pytest.raises(Unavailable):
            await scheduler.submit(job)
        with pytest.raises(Unavailable, match="Slurm does not answer"):
            await scheduler.check()
    finally:
        cluster.slurmctld.thaw()
    async with asyncio.timeout(LONG_ENOUGH):
        while True:
            try:
                scheduler_id = await scheduler.submit(job)
            except Unavailable:
                continue
            break
    assert (await patiently(scheduler, scheduler_id, [])).returncode == 0
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_a_node_that_fails(make: Make, cluster: SlurmCluster, place: Place) -> None:
    scheduler, job = make(extra_options=["--no-requeue"]), submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    node = f"NodeName={cluster.node}"
    cluster.run("scontrol", "update", node, "State=DOWN", "Reason=test")
    try:
        assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, DestinationFailed)
    finally:
        cluster.succeeds("scontrol", "update", node, "State=RESUME")  # it may be back by itself
        await until(lambda: cluster.run("sinfo", "-h", "-p", "main", "-o", "%T").strip() in {"idle", "mixed"})
