"""The qmaster is away for long, killed or hung, with 100 jobs of all kinds."""

import asyncio

import pytest

from flows.destinations.scheduler import Scheduler, Status
from flows.disk.places import Place
from flows.errors import JobCancelled, Unavailable
from tests.flows.gridengine.conftest import Make
from tests.flows.submitting import WAITS, submission
from tests.services.gridengine import GridEngine
from tests.waiting import until

RUNS = "echo ran >>ledger"


async def patiently(scheduler: Scheduler, scheduler_id: str) -> Status:
    while True:
        try:
            return [status async for status in scheduler.watch(scheduler_id)][-1]
        except Unavailable:
            continue


async def insist_on_cancelling(scheduler: Scheduler, scheduler_id: str) -> None:
    while True:
        try:
            return await scheduler.cancel(scheduler_id)
        except Unavailable:
            await asyncio.sleep(1)


@pytest.mark.long
@pytest.mark.parametrize(("how", "seconds"), [("kill", 30), ("kill", 180), ("freeze", 180)])
async def test_the_qmaster_is_away_for_long(
    make: Make, engine: GridEngine, place: Place, how: str, seconds: float
) -> None:
    scheduler = make(poll_interval=1.0)
    told = [submission(place, f"{RUNS}; {WAITS}; exit {n % 3}") for n in range(40)]
    short = [submission(place, f"{RUNS}; sleep {10 + n % 20}; exit {n % 3}") for n in range(40)]
    unwanted = [submission(place, f"{RUNS}; sleep 1000") for _ in range(20)]
    ids = [await scheduler.submit(job) for job in told + short + unwanted]  # 64 of them run, the others wait
    for job in told:
        await until((job.directory / "ledger").exists)
    watching = [asyncio.create_task(patiently(scheduler, scheduler_id)) for scheduler_id in ids]
    getattr(engine.qmaster, how)()
    try:
        for job in told[:20]:
            (job.directory / "go").touch()
        cancelling = [asyncio.create_task(insist_on_cancelling(scheduler, i)) for i in ids[80:]]
        await asyncio.sleep(seconds)  # that long it is away
        assert not any(task.done() for task in watching[:40])
    finally:
        await asyncio.to_thread(engine.qmaster.start if how == "kill" else engine.qmaster.thaw)
    for job in told[20:]:
        (job.directory / "go").touch()
    await asyncio.gather(*cancelling)
    ends = await asyncio.gather(*watching)
    assert [end.returncode for end in ends[:80]] == [n % 3 for n in [*range(40), *range(40)]]
    assert all(isinstance(end.failure, JobCancelled) for end in ends[80:])
    assert {(job.directory / "ledger").read_text() for job in told + short} == {"ran\n"}
    ledgers = [job.directory / "ledger" for job in unwanted]
    assert all(ledger.read_text() == "ran\n" for ledger in ledgers if ledger.exists())
