"""What is removed from the directory of jobs on another machine and, above all, what is not."""

import os
import secrets
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.destinations.filesystem import guard
from flows.disk.places import Place
from flows.errors import CommandFailed
from flows.jobs.job import Job
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.upkeep.findings import Findings
from flows.upkeep.leftover_directories import WHAT, remove_leftover_directories
from tests.all_jobs import AllJobs
from tests.services.sshd import Sshd, SshServer

DAY = 86400.0


@pytest.fixture
def entry(ssh_server: SshServer) -> Iterator[Path]:
    """The directory of jobs on the other machine; two destinations have it."""
    entry = ssh_server.home / f"jobs {secrets.token_hex(4)}"
    yield entry
    shutil.rmtree(entry, ignore_errors=True)


@pytest.fixture(params=["stock", "sftp_only"])
def sshd(request: pytest.FixtureRequest, ssh_server: SshServer) -> Iterator[Sshd]:
    """With a shell, and without."""
    sshd: Sshd = getattr(ssh_server, request.param)
    yield sshd
    sshd.start()


@pytest.fixture
async def runtime(
    pool: Pool, tmp_path: Path, ssh_server: SshServer, sshd: Sshd, entry: Path
) -> AsyncIterator[Runtime]:
    filesystem = {"type": "sftp", "ssh_config": ssh_server.login(sshd), "entry": str(entry)}
    scheduler = {"type": "memory"}
    destinations = {
        "there": {"scheduler": scheduler, "filesystem": filesystem},
        "same": {"scheduler": scheduler, "filesystem": filesystem},
        "here": {"scheduler": scheduler, "filesystem": {"type": "local"}},
    }
    configured = Config.model_validate(
        {"applications": {"a": {"command_template": "true"}}, "destinations": destinations}
    )
    place = Place(tmp_path / "data", tmp_path / "jobs")
    async with open_runtime(AllJobs(pool), configured, place, pickers.pick_first) as runtime:
        yield runtime


async def staged(runtime: Runtime, entry: Path) -> Job:
    """Make a job with all that there can be of one there, of two days ago."""
    job = await AllJobs(runtime.jobs.pool).create(
        application="a", submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    job_dir = runtime.place.job_dir(job.id)
    job_dir.mkdir(parents=True)
    (job_dir / "input").touch()
    directory = await runtime.destinations["there"].filesystem.stage_in(job_dir, str(job.token))
    guard(directory, str(job.token)).mkdir()
    (entry / f".{job.token}.draft.0123abcd").mkdir()
    (entry / f".{job.token}.draft.0123abcd.inputs").touch()
    owner = entry.stat()
    for path in of(entry, job):
        os.chown(path, owner.st_uid, owner.st_gid)
    make_old(entry, job)
    assert len(of(entry, job)) == 5
    return job


def make_old(entry: Path, job: Job) -> None:
    for path in of(entry, job):
        os.utime(path, (time.time() - 2 * DAY,) * 2)


async def ended(runtime: Runtime, entry: Path) -> Job:
    job = await staged(runtime, entry)
    await runtime.jobs.fail(job.id, CommandFailed("It failed."))
    return job


def of(entry: Path, job: Job) -> list[Path]:
    return [path for path in entry.iterdir() if str(job.token) in path.name]


async def cleaned(runtime: Runtime, *, dry_run: bool = False, without_job: bool = False) -> str:
    findings = Findings()
    await remove_leftover_directories(
        runtime, findings, dry_run=dry_run, age=timedelta(days=1), directories_without_job=without_job
    )
    return findings.summary("nothing")


async def test_of_jobs_that_have_ended(runtime: Runtime, entry: Path) -> None:
    assert await cleaned(runtime) == "nothing"  # there is no directory yet
    over = [await ended(runtime, entry), await ended(runtime, entry)]
    active = await staged(runtime, entry)
    os.utime(entry / str(over[1].token))  # a moment ago
    (entry / "of somebody else").mkdir()
    assert await cleaned(runtime, dry_run=True) == f"{WHAT}: would be removed 1"
    assert len(of(entry, over[0])) == 5
    assert await cleaned(runtime) == f"{WHAT}: removed 1"
    assert [len(of(entry, job)) for job in (*over, active)] == [0, 5, 5]
    assert await cleaned(runtime) == "nothing"
    assert (entry / "of somebody else").exists()


async def test_of_jobs_that_are_gone(runtime: Runtime, entry: Path) -> None:
    """What is of no job here may be another database's: only an operator knows better."""
    gone = await ended(runtime, entry)
    await AllJobs(runtime.jobs.pool).request_deletion(gone.id)
    await AllJobs(runtime.jobs.pool).purge(gone.id)
    assert await cleaned(runtime) == f"{WHAT}: kept: of no job in this database 1"
    assert len(of(entry, gone)) == 5
    assert await cleaned(runtime, without_job=True, dry_run=True) == f"{WHAT}: would be removed 1"
    assert await cleaned(runtime, without_job=True) == f"{WHAT}: removed 1"
    assert list(entry.iterdir()) == []


async def test_what_cannot_be_removed_is_said(runtime: Runtime, entry: Path) -> None:
    job = await ended(runtime, entry)
    theirs = entry / str(job.token) / "of root"
    theirs.mkdir()
    (theirs / "file").touch()
    make_old(entry, job)
    assert await cleaned(runtime) == f"{WHAT}: kept: cannot be removed, see the worker's log 1"
    shutil.rmtree(theirs)
    make_old(entry, job)
    assert await cleaned(runtime) == f"{WHAT}: removed 1"


async def test_a_machine_that_is_away(runtime: Runtime, entry: Path, sshd: Sshd) -> None:
    job = await ended(runtime, entry)
    sshd.crash()
    assert (await cleaned(runtime)).count("destination: cannot be asked for its directories now") == 2
    assert len(of(entry, job)) == 5
