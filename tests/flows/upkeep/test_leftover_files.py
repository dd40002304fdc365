"""What is removed from the disk and, above all, what is not."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.disk.ownership import OWNER, is_ours
from flows.disk.places import Place
from flows.errors import CommandFailed, StagingFailed
from flows.jobs.deletion import remove_files
from flows.jobs.job import Job, job_table
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.upkeep.findings import Findings
from flows.upkeep.leftover_files import remove_leftovers
from tests.all_jobs import AllJobs


@pytest.fixture
async def runtime(pool: Pool, tmp_path: Path) -> AsyncIterator[Runtime]:
    configured = Config.model_validate({"applications": {"a": {"command_template": "true"}}})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    for directory in (place.uploads, place.results, place.job_root):
        directory.mkdir(parents=True)
    async with open_runtime(AllJobs(pool), configured, place, pickers.pick_first) as runtime:
        yield runtime


async def new_job(runtime: Runtime) -> Job:
    """Return a job that has something everywhere."""
    job = await AllJobs(runtime.jobs.pool).create(
        application="a", submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    await AllJobs(runtime.jobs.pool).set_flow_run({job.id: uuid.uuid4()})
    job = await runtime.jobs.get(job.id)
    for directory in parts(runtime, job)[1:]:
        (directory / "below").mkdir(parents=True)
        (directory / "below/file").touch()
    runtime.place.upload(str(job.token)).touch()
    return job


async def own(runtime: Runtime, job: Job) -> None:
    await runtime.jobs.pool.fetch(sa.update(job_table).where(job_table.c.id == job.id).values(owner=1))


def parts(runtime: Runtime, job: Job) -> list[Path]:
    place = runtime.place
    return [
        place.upload(str(job.token)),
        place.results / str(job.flow_run_id),
        place.hidden_dir(job.id, str(job.token)),
        place.job_root / f".{job.token}.started",
        place.job_root / f".{job.token}.draft",
        place.job_dir(job.id),
    ]


def present(runtime: Runtime, job: Job) -> list[bool]:
    return [path.exists() for path in parts(runtime, job)]


async def clean(
    runtime: Runtime,
    *,
    days: float = 0,
    uploads_days: float = 0,
    dry_run: bool = False,
    directories_without_job: bool = False,
) -> Findings:
    findings = Findings()
    await remove_leftovers(
        runtime,
        findings,
        dry_run=dry_run,
        age=timedelta(days=days),
        age_of_uploads=timedelta(days=uploads_days),
        directories_without_job=directories_without_job,
    )
    return findings


async def test_of_jobs_under_way_nothing_is_removed(runtime: Runtime) -> None:
    waiting, claimed = await new_job(runtime), await new_job(runtime)
    await own(runtime, claimed)
    findings = await clean(runtime, directories_without_job=True)
    assert present(runtime, waiting) == present(runtime, claimed) == [True] * 6
    assert findings.summary("nothing") == "nothing"


async def test_of_ended_jobs_only_their_directory_stays(runtime: Runtime) -> None:
    job = await new_job(runtime)
    await runtime.jobs.fail(job.id, CommandFailed("It failed."))
    await clean(runtime, days=1)
    assert present(runtime, job) == [True] * 6  # not yet
    findings = await clean(runtime, dry_run=True)
    assert findings.summary("").count("would be removed") == 3
    assert present(runtime, job) == [True] * 6
    await clean(runtime)
    assert present(runtime, job) == [False, False, False, False, False, True]


async def test_what_prefect_kept_of_steps_that_failed(runtime: Runtime) -> None:
    kept = runtime.place.results / uuid.uuid4().hex
    kept.touch()
    await clean(runtime, days=1)
    assert kept.exists()
    await clean(runtime)
    assert not kept.exists()


async def test_an_ended_job_that_its_worker_still_looks_after(runtime: Runtime) -> None:
    job = await new_job(runtime)
    await own(runtime, job)
    await runtime.jobs.fail(job.id, CommandFailed("It failed."))
    await clean(runtime)
    assert present(runtime, job) == [True] * 6


async def test_the_upload_of_a_job_that_can_be_run_again_stays_longer(runtime: Runtime) -> None:
    job = await new_job(runtime)
    await runtime.jobs.fail(job.id, StagingFailed("The disk is full."))
    upload = runtime.place.upload(str(job.token))
    await clean(runtime, uploads_days=7)
    assert upload.exists()
    await clean(runtime)
    assert not upload.exists()


async def test_what_has_no_job(runtime: Runtime) -> None:
    """In the data directory it is of no use; among the jobs it may be another database's."""
    job = await new_job(runtime)
    await runtime.jobs.fail(job.id, CommandFailed("It failed."))
    await AllJobs(runtime.jobs.pool).request_deletion(job.id)
    await AllJobs(runtime.jobs.pool).purge(job.id)
    await clean(runtime, days=1)
    assert present(runtime, job) == [True] * 6
    findings = await clean(runtime)
    assert present(runtime, job) == [False, False, True, True, True, True]
    assert findings.count("hidden directory") == 3
    assert findings.count("directory without job") == 1
    await clean(runtime, directories_without_job=True, days=1)
    assert present(runtime, job)[5]
    await clean(runtime, directories_without_job=True, dry_run=True)
    assert present(runtime, job)[5]
    await clean(runtime, directories_without_job=True)
    assert present(runtime, job) == [False, False, True, True, True, False]


async def test_a_directory_that_was_set_aside_is_only_reported(runtime: Runtime) -> None:
    job = await new_job(runtime)
    await runtime.jobs.fail(job.id, CommandFailed("It failed."))
    aside = runtime.place.job_root / f".{job.id}.{uuid.uuid4().hex}"
    aside.mkdir()
    (runtime.place.job_root / "notes").mkdir()
    findings = await clean(runtime, directories_without_job=True)
    assert findings.count("directory set aside") == 1
    assert aside.exists()
    assert (runtime.place.job_root / "notes").exists()


async def test_a_data_directory_of_another_database(runtime: Runtime) -> None:
    """As when the settings name the wrong database: everything looks as if it had no job."""
    job = await new_job(runtime)
    await clean(runtime)
    await runtime.jobs.pool.fetch(sa.text("UPDATE installation SET id = gen_random_uuid()"))
    await runtime.jobs.pool.fetch(sa.text("DELETE FROM job"))
    findings = await clean(runtime)
    assert findings.count("data directory") == 1
    assert present(runtime, job) == [True] * 6
    (runtime.place.data_dir / OWNER).unlink()  # as the message says
    await clean(runtime)
    assert present(runtime, job) == [False, False, True, True, True, True]


async def test_many_at_once_make_a_data_directory_theirs(tmp_path: Path) -> None:
    ours, theirs = uuid.uuid4(), uuid.uuid4()
    for number in range(20):
        place = tmp_path / str(number)
        answers = await asyncio.gather(
            *(asyncio.to_thread(is_ours, place, who) for who in (ours, ours, ours, theirs))
        )
        assert answers in ([True, True, True, False], [False, False, False, True])
        assert [path.name for path in place.iterdir()] == [OWNER]
        written = place.stat().st_mtime_ns
        assert is_ours(place, ours) is answers[0]
        assert place.stat().st_mtime_ns == written  # on a full disk, too


async def test_a_linked_directory_is_not_looked_into(runtime: Runtime, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").touch()
    (runtime.place.job_root / "4711").symlink_to(outside)
    await clean(runtime, directories_without_job=True)
    assert not (runtime.place.job_root / "4711").is_symlink()
    assert (outside / "file").exists()


async def test_an_interrupted_removal_is_finished(runtime: Runtime) -> None:
    job = await new_job(runtime)
    # As it is after the rename, with a part removed.
    place = runtime.place
    (place.hidden_dir(job.id, str(job.token)) / "below/file").unlink()
    remove_files(job, place)
    assert not place.hidden_dir(job.id, str(job.token)).exists()
    assert not place.job_dir(job.id).exists()
    remove_files(job, place)  # again
