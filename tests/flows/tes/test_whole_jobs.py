"""Jobs from their archives to their ends, where a container and an object store do the work."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

import pytest_asyncio

from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.jobs.job import Job
from flows.lifecycle.life import live
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.pickers import pick_first
from tests.all_jobs import AllJobs
from tests.flows.running import new_job
from tests.flows.tes.jobs import KEYS, Destination
from tests.services.object_stores import BUCKET, SeaweedFs

P = ParamSpec("P")
R = TypeVar("R")


@pytest_asyncio.fixture
async def runtime(pool: Pool, tmp_path: Path, destination: Destination) -> AsyncIterator[Runtime]:
    cloud = {
        "scheduler": {**KEYS, "time_limit": 3},
        "filesystem": {"type": "s3", "block": "store", "bucket": BUCKET, "prefix": "whole"},
    }
    configured = Config.model_validate(
        {"applications": {"a": {"command_template": "true"}}, "destinations": {"cloud": cloud}}
    )
    place = Place(tmp_path / "whole/data", tmp_path / "whole/jobs")
    async with open_runtime(AllJobs(pool), configured, place, pick_first) as runtime:
        yield runtime


async def call(step: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step as if nothing was ever interrupted."""
    return await step(*args, **kwargs)


async def run(runtime: Runtime, command: str) -> tuple[Job, Path]:
    job = await new_job(runtime, command)
    await live(job.id, call)
    return await runtime.jobs.get(job.id), runtime.place.job_dir(job.id)


async def test_the_return_code_among_the_outputs_says_how_a_job_ended(
    runtime: Runtime, seaweedfs: SeaweedFs
) -> None:
    ended, directory = await run(runtime, "cat input; echo 42 >result")
    assert (ended.state, ended.reason) == ("ok", None)
    assert (directory / "result").read_text() == "42\n"
    assert (directory / "stdout.txt").read_text() == (directory / "input").read_text() == "1"
    ended, _ = await run(runtime, "echo no such molecule >&2; exit 4")
    assert (ended.state, ended.reason_kind) == ("error", "user error")
    assert ended.reason == (
        "The command ended with exit code 4; see stderr.txt, which ends with: no such molecule"
    )
    ended, _ = await run(runtime, "sleep 1000")
    assert (ended.state, ended.reason_kind) == ("error", "time limit")
    # What ends the wrapper leaves no return code, and no job that is ok.
    ended, _ = await run(runtime, "kill -KILL $PPID")
    assert (ended.state, ended.reason_kind) == ("error", "destination failed")
    assert not [key for key in seaweedfs.objects() if key.startswith("whole/")]
