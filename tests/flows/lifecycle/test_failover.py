"""Jobs whose destination does not answer are given another one, if they certainly are not there."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.errors import CommandFailed, Unavailable
from flows.jobs.destination_reports import Reports
from flows.lifecycle.left_behind import leave_former_destinations
from flows.lifecycle.runtime import Destination, Runtime, open_runtime
from tests.all_jobs import AllJobs
from tests.flows.misbehaving import FarFiles, Picker, Scheduler, says
from tests.flows.running import new_job, run

pytestmark = pytest.mark.usefixtures("prefect_server")

LOCAL = {"scheduler": {"type": "memory"}, "filesystem": {"type": "local"}}


@dataclass
class Elsewhere:
    """The destination ``away``, for which jobs are picked first, and ``local``, which is well."""

    runtime: Runtime
    scheduler: Scheduler
    files: FarFiles

    async def seen(self, *, reachable: bool) -> None:
        """Let the worker have looked at the destination."""
        reports = Reports(self.runtime.jobs.pool)
        error = None if reachable else "No route to host"
        await reports.write("away", self.runtime.place.worker, latency=0.1, error=error)
        self.runtime.conditions._found_at = -math.inf


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler()


@pytest.fixture
def picker() -> Picker:
    return Picker()


@pytest.fixture
def failover() -> bool:
    return True


@pytest.fixture
async def elsewhere(
    pool: Pool, tmp_path: Path, scheduler: Scheduler, picker: Picker, failover: bool
) -> AsyncIterator[Elsewhere]:
    configured = Config.model_validate(
        {
            "applications": {"a": {"command_template": "true"}},
            "destinations": {"away": LOCAL | {"failover": failover}, "local": LOCAL},
        }
    )
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), configured, place, picker) as runtime:
        destinations, far = runtime.destinations._destinations, Scheduler()
        files = FarFiles()
        destinations["local"] = Destination(scheduler, destinations["local"].filesystem)
        destinations["away"] = Destination(far, files)
        yield Elsewhere(runtime, far, files)


async def test_a_job_goes_where_it_is_answered(scheduler: Scheduler, elsewhere: Elsewhere) -> None:
    elsewhere.files.errors.append(Unavailable("The machine is away."))
    runtime = elsewhere.runtime
    job = await new_job(runtime)
    running = asyncio.create_task(run(runtime, job))
    await says(runtime, job, "Waiting: The machine is away.")
    await elsewhere.seen(reachable=False)
    ended, _ = await running
    assert (ended.state, ended.destination, ended.left_behind) == ("ok", "local", ["away"])
    assert (scheduler.submitted, elsewhere.scheduler.submitted) == ([str(job.token)], [])
    assert scheduler.forgotten == [str(job.token)]
    # What was brought there goes when it answers again.
    await leave_former_destinations(runtime)
    assert (await runtime.jobs.get(job.id)).left_behind == ["away"]
    await elsewhere.seen(reachable=True)
    elsewhere.files.errors.append(Unavailable("The machine is away."))
    await leave_former_destinations(runtime)
    assert (await runtime.jobs.get(job.id)).left_behind == ["away"]
    await leave_former_destinations(runtime)
    assert (await runtime.jobs.get(job.id)).left_behind == []
    assert elsewhere.files.removed == [str(job.token)]


async def test_a_job_that_may_have_been_handed_over_goes_nowhere_else(
    scheduler: Scheduler, elsewhere: Elsewhere
) -> None:
    elsewhere.scheduler.submit_errors.append(Unavailable("Nothing was heard of it."))
    runtime = elsewhere.runtime
    job = await new_job(runtime)
    running = asyncio.create_task(run(runtime, job))
    await says(runtime, job, "Waiting: Nothing was heard of it.")
    await elsewhere.seen(reachable=False)
    ended, _ = await running
    assert (ended.state, ended.destination, ended.left_behind) == ("ok", "away", [])
    assert (scheduler.submitted, elsewhere.scheduler.submitted) == ([], [str(job.token)])


@pytest.mark.parametrize("answer", ["away", "moon", LookupError("no idea")], ids=str)
async def test_a_job_for_which_nothing_else_is_picked_waits(
    picker: Picker, elsewhere: Elsewhere, answer: str | Exception
) -> None:
    elsewhere.files.errors.append(Unavailable("The machine is away."))
    runtime = elsewhere.runtime
    job = await new_job(runtime)
    running = asyncio.create_task(run(runtime, job))
    await says(runtime, job, "Waiting: The machine is away.")
    await elsewhere.seen(reachable=False)
    picker.answer, picker.error = (answer, None) if isinstance(answer, str) else (None, answer)
    ended, _ = await running
    assert (ended.state, ended.destination) == ("ok", "away")


@pytest.mark.parametrize("failover", [False])
async def test_without_failover_a_job_waits(scheduler: Scheduler, elsewhere: Elsewhere) -> None:
    elsewhere.files.errors.append(Unavailable("The machine is away."))
    await elsewhere.seen(reachable=False)
    ended, _ = await run(elsewhere.runtime, await new_job(elsewhere.runtime))
    assert (ended.destination, scheduler.submitted) == ("away", [])


async def test_what_comes_late_moves_no_job(elsewhere: Elsewhere) -> None:
    """Neither of two statements that were given up undoes what came after it."""
    jobs = AllJobs(elsewhere.runtime.jobs.pool)
    one, two = [await new_job(elsewhere.runtime) for _ in range(2)]
    for job in (one, two):
        await jobs.set_destination(job.id, "away", failover=True)
    assert await jobs.stay(one.id, "away")
    assert not await jobs.move(one.id, "away", "local", failover=True)
    assert await jobs.move(two.id, "away", "local", failover=True)
    assert not await jobs.stay(two.id, "away")
    assert not await jobs.move(two.id, "away", "away", failover=True)
    assert [(await jobs.get(job.id)).destination for job in (one, two)] == ["away", "local"]
    assert await jobs.stay(two.id, "local")


async def test_a_deleted_job_is_known_while_something_of_it_is_elsewhere(elsewhere: Elsewhere) -> None:
    jobs = AllJobs(elsewhere.runtime.jobs.pool)
    job = await new_job(elsewhere.runtime)
    await jobs.set_destination(job.id, "away", failover=True)
    await jobs.move(job.id, "away", "local", failover=False)
    await jobs.fail(job.id, CommandFailed("over"))
    await jobs.request_deletion(job.id)
    await jobs.purge(job.id)
    assert await jobs.to_purge() == []
    await leave_former_destinations(elsewhere.runtime)
    assert [one.id for one in await jobs.to_purge()] == [job.id]
