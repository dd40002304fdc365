"""Commands on this machine that have no job under way."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.destinations.scheduler import Listing, Submission
from flows.disk.places import Place
from flows.errors import CommandFailed, JobCancelled
from flows.jobs.job import Job
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.local.commands import LocalCommands
from flows.upkeep.leftover_commands import end_leftover_commands, forget_what_must_not_start
from tests.all_jobs import AllJobs
from tests.flows.submitting import has_ended
from tests.waiting import LONG_ENOUGH


@pytest.fixture
async def runtime(pool: Pool, tmp_path: Path) -> AsyncIterator[Runtime]:
    configured = Config.model_validate({"applications": {"a": {"command_template": "true"}}})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), configured, place, pickers.pick_first) as runtime:
        yield runtime


async def added(runtime: Runtime, destination: str) -> tuple[Job, LocalCommands]:
    """Return a job whose command waits for its start, and the commands among which it is."""
    job = await AllJobs(runtime.jobs.pool).create(
        application="a", submitter="me", roles=[], command="sleep 1000", token=uuid.uuid4()
    )
    directory = runtime.place.job_dir(job.id)
    directory.mkdir(parents=True)
    commands = LocalCommands(runtime.place.commands / destination)
    commands.add(
        Submission(
            token=str(job.token),
            job_id=job.id,
            application="a",
            submitter="me",
            command="echo $$ >pid; exec sleep 1000",
            directory=directory,
        )
    )
    return job, commands


async def started(runtime: Runtime, destination: str) -> tuple[Job, int]:
    """Return a job and the process of its command, started by a process before this one."""
    job, commands = await added(runtime, destination)
    directory = runtime.place.job_dir(job.id)
    await commands.launch(str(job.token), {})
    async with asyncio.timeout(LONG_ENOUGH):
        while not (directory / "pid").exists() or not (directory / "pid").read_text().endswith("\n"):
            await asyncio.sleep(0.02)
    return job, int((directory / "pid").read_text())


@pytest.mark.parametrize("destination", ["local", "not configured any more"])
async def test_only_of_jobs_that_are_over(runtime: Runtime, destination: str) -> None:
    ended, gone, active = [await started(runtime, destination) for _ in range(3)]
    await runtime.jobs.fail(ended[0].id, CommandFailed("It failed."))
    await runtime.jobs.pool.fetch(sa.text("DELETE FROM job WHERE id = :id"), id=gone[0].id)
    tokens = await end_leftover_commands(runtime)
    assert set(tokens) == {str(ended[0].token), str(gone[0].token)}
    assert has_ended(ended[1])
    assert has_ended(gone[1])
    assert not has_ended(active[1])
    left = runtime.place.commands / destination
    assert [path.name for path in left.iterdir()] == [str(active[0].token)]
    await runtime.jobs.fail(active[0].id, CommandFailed("It failed."))
    assert await end_leftover_commands(runtime) == [str(active[0].token)]
    assert has_ended(active[1])


async def test_not_of_another_database(runtime: Runtime) -> None:
    job, pid = await started(runtime, "local")
    assert await end_leftover_commands(runtime) == []
    await runtime.jobs.pool.fetch(sa.text("UPDATE installation SET id = gen_random_uuid()"))
    await runtime.jobs.pool.fetch(sa.text("DELETE FROM job"))
    assert await end_leftover_commands(runtime) == []
    assert not has_ended(pid)
    await LocalCommands(runtime.place.commands / "local").end(str(job.token), CommandFailed("The end."))


async def test_what_waits_for_a_job_that_is_over_never_starts(runtime: Runtime) -> None:
    """As when it was cancelled while no worker was on this machine."""
    over, running = [(await started(runtime, "local")) for _ in range(2)]
    cancelled, active = [(await added(runtime, "local"))[0] for _ in range(2)]
    for job in (over[0], cancelled):
        await runtime.jobs.fail(job.id, JobCancelled("It was cancelled."))
    await forget_what_must_not_start(runtime)
    scheduler = runtime.destinations["local"].scheduler
    assert isinstance(scheduler, Listing)
    assert set(await scheduler.tokens()) == {str(job.token) for job in (over[0], running[0], active)}
    assert not has_ended(over[1])  # ended later, with the time that takes
    for job in (running[0], active):
        await runtime.jobs.fail(job.id, JobCancelled("It was cancelled."))
    await end_leftover_commands(runtime)
    assert await scheduler.tokens() == []
