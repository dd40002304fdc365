"""Jobs that Slurm keeps though our job of them has ended or is gone, beside jobs of others."""

import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.destinations.scheduler import Submission
from flows.disk.places import Place
from flows.errors import CommandFailed
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.upkeep.findings import Findings
from flows.upkeep.leftover_jobs import WHAT, end_leftover_jobs
from tests.all_jobs import AllJobs
from tests.flows.slurm.jobs import WAIT, slurm_id
from tests.services.slurm import SlurmCluster
from tests.waiting import until

CONFIG = {
    "applications": {"a": {"command_template": "true"}},
    "destinations": {
        "first": {"scheduler": {"type": "slurm"}, "filesystem": {"type": "local"}},
        "same": {
            "scheduler": {"type": "slurm", "extra_options": ["--hold"]},
            "filesystem": {"type": "local"},
        },
        "here": {"scheduler": {"type": "memory", "slots": 1}, "filesystem": {"type": "local"}},
    },
}


@pytest.fixture
async def runtime(pool: Pool, place: Place, cluster: SlurmCluster) -> AsyncIterator[Runtime]:
    async with open_runtime(
        AllJobs(pool), Config.model_validate(CONFIG), place, pickers.pick_first
    ) as runtime:
        yield runtime


async def submitted(runtime: Runtime, *, destination: str = "first", installation: str | None = None) -> str:
    """Make a job that waits to be told to go on, or is held; return Slurm's id of it and its token."""
    job = await AllJobs(runtime.jobs.pool).create(
        application="a", submitter="me", roles=[], command=WAIT, token=uuid.uuid4()
    )
    directory = runtime.place.job_dir(job.id)
    directory.mkdir(parents=True)
    submission = Submission(
        token=str(job.token),
        job_id=job.id,
        application="a",
        submitter="me",
        command=WAIT,
        directory=directory,
        installation=str(await runtime.jobs.installation()),
    )
    if installation is not None:
        submission = replace(submission, installation=installation)
    scheduler_id = await runtime.destinations[destination].scheduler.submit(submission)
    if destination == "first":
        await until((directory / "ledger").exists)
    return slurm_id(scheduler_id)


async def end_rows(runtime: Runtime, *, keep: int) -> None:
    """Let all jobs have ended but the newest ones."""
    jobs = await AllJobs(runtime.jobs.pool).of_submitter("me", limit=100, offset=0)
    for job in jobs[keep:]:
        await runtime.jobs.fail(job.id, CommandFailed("It failed."))


async def remove_rows(runtime: Runtime) -> None:
    await runtime.jobs.pool.fetch(sa.text("DELETE FROM job"))


async def ended(runtime: Runtime, *, dry_run: bool = False) -> str:
    findings = Findings()
    await end_leftover_jobs(runtime, findings, dry_run=dry_run)
    return findings.summary("nothing")


def under_way(cluster: SlurmCluster) -> set[str]:
    return set(cluster.run("squeue", "-h", "-t", "PENDING,RUNNING", "-o", "%A").split())


async def test_of_jobs_that_have_ended(runtime: Runtime, cluster: SlurmCluster) -> None:
    """Also those of an earlier version, whose names say no installation."""
    over = {
        await submitted(runtime),
        await submitted(runtime, destination="same"),
        await submitted(runtime, installation=""),
    }
    active = await submitted(runtime)
    theirs = cluster.run("sbatch", "--parsable", "--hold", "-o", "/dev/null", input="#!/bin/sh\n").strip()
    assert await ended(runtime) == "nothing"
    await end_rows(runtime, keep=1)
    assert await ended(runtime, dry_run=True) == f"{WHAT}: would be cancelled 3"
    assert under_way(cluster) == over | {active, theirs}
    assert await ended(runtime) == f"{WHAT}: cancelled 3"
    await until(lambda: under_way(cluster) == {active, theirs})
    await end_rows(runtime, keep=0)
    assert await ended(runtime) == f"{WHAT}: cancelled 1"
    await until(lambda: under_way(cluster) == {theirs})
    cluster.run("scancel", theirs)


async def test_of_jobs_that_are_gone(runtime: Runtime, cluster: SlurmCluster) -> None:
    """What is not proven to be of this database may be another's."""
    gone = await submitted(runtime)
    others = {
        await submitted(runtime, installation=str(uuid.uuid4())),
        await submitted(runtime, installation=""),
    }
    await remove_rows(runtime)
    assert await ended(runtime) == f"{WHAT}: cancelled 1"
    await until(lambda: gone not in under_way(cluster))
    assert under_way(cluster) == others
    assert await ended(runtime) == "nothing"
    cluster.run("scancel", *others)


async def test_of_a_cluster_that_is_away(
    runtime: Runtime, cluster: SlurmCluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    left = await submitted(runtime)
    await end_rows(runtime, keep=0)
    for command in ("scancel", "squeue"):
        (tmp_path / command).write_text("#!/bin/sh\necho Unable to contact slurm controller >&2\nexit 1\n")
        (tmp_path / command).chmod(0o755)
        with monkeypatch.context() as patch:
            patch.setenv("PATH", str(tmp_path), prepend=":")
            said = await ended(runtime)
        why = "Slurm does not answer (Unable to contact slurm controller)."
        if command == "scancel":
            assert said == f"{WHAT}: kept, as it cannot be cancelled now: {why} 1"
        else:
            assert said == f"destination: cannot be asked for its jobs now: {why} 2"
    assert await ended(runtime) == f"{WHAT}: cancelled 1"
    await until(lambda: left not in under_way(cluster))
