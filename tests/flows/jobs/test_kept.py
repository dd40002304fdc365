"""When jobs expire, on a real database whose clock is moved by moving the jobs."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.errors import CommandFailed
from flows.jobs import kept
from flows.jobs.job import Job, job_table
from flows.jobs.kept import Retention
from tests.all_jobs import AllJobs

NOTICE = timedelta(days=1)
LONG_AGO = timedelta(days=10)


@pytest.fixture
def jobs(pool: Pool) -> AllJobs:
    return AllJobs(pool)


def retention(days: float | None, **applications: Any) -> Retention:
    """Applications with their retention, and one without."""
    return Config.model_validate(
        {
            "applications": {
                name: {"command_template": "true", "retention_days": own}
                for name, own in ({"other": None} | applications).items()
            },
            "retention_days": days,
        }
    ).retention


async def ended_ago(jobs: AllJobs, ago: timedelta, application: str = "other") -> Job:
    job = await jobs.create(
        application=application, submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    await jobs.fail(job.id, CommandFailed("It failed."))
    await _change(jobs, job, ended_on=datetime.now(UTC) - ago)
    return job


async def _change(jobs: AllJobs, job: Job, **values: Any) -> None:
    await jobs.pool.fetch(sa.update(job_table).where(job_table.c.id == job.id).values(values))


async def time_passes(jobs: AllJobs, job: Job, passed: timedelta) -> None:
    now = await jobs.get(job.id)
    assert now.ended_on is not None
    expires_on = None if now.expires_on is None else now.expires_on - passed
    await _change(jobs, job, ended_on=now.ended_on - passed, expires_on=expires_on)


async def expires_in(jobs: AllJobs, job: Job) -> float | None:
    """Return the days until it does."""
    now = await jobs.get(job.id)
    if now.expires_on is None:
        return None
    return round((now.expires_on - datetime.now(UTC)) / timedelta(days=1), 2)


async def deleted(jobs: AllJobs) -> set[int]:
    return {job.id for job in await jobs.delete_expired(limit=100)}


async def test_without_retention_nothing_expires(jobs: AllJobs) -> None:
    job = await ended_ago(jobs, timedelta(days=10_000))
    assert await jobs.announce(retention(None), NOTICE) == 0
    assert await jobs.expired(retention(None), NOTICE, limit=10) == []
    assert await deleted(jobs) == set()
    assert await expires_in(jobs, job) is None


@pytest.mark.parametrize("at_once", [1, 2, 10_000])
async def test_each_application_has_its_own(
    jobs: AllJobs, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "_AT_ONCE", at_once)
    settings = retention(30, quick=3, kept="never")
    ended = {
        name: await ended_ago(jobs, timedelta(days=1), name) for name in ("other", "quick", "kept", "gone")
    }
    assert await jobs.announce(settings, NOTICE) == 3
    days = {name: await expires_in(jobs, job) for name, job in ended.items()}
    assert days == {"other": 29, "quick": 2, "kept": None, "gone": 29}
    assert await jobs.announce(settings, NOTICE) == 0  # it stays at that


async def test_a_visitor_is_told_before(jobs: AllJobs) -> None:
    """Also when jobs should have been removed long before the operator said so."""
    job = await ended_ago(jobs, LONG_AGO)
    await jobs.announce(retention(2), NOTICE)
    assert await expires_in(jobs, job) == 1
    assert await deleted(jobs) == set()
    await time_passes(jobs, job, timedelta(hours=23))
    await jobs.announce(retention(2), NOTICE)
    assert await deleted(jobs) == set()
    await time_passes(jobs, job, timedelta(hours=2))
    await jobs.announce(retention(2), NOTICE)
    assert [found.id for found in await jobs.expired(retention(2), NOTICE, limit=10)] == [job.id]
    assert await deleted(jobs) == {job.id}
    assert [found.id for found in await jobs.to_purge()] == [job.id]
    assert await deleted(jobs) == set()


async def test_a_retention_that_is_changed(jobs: AllJobs) -> None:
    job = await ended_ago(jobs, LONG_AGO)
    for days, expected in ((30, 20), (12, 2), (2, 1), (40, 30), (None, None)):
        await jobs.announce(retention(days), NOTICE)
        assert await expires_in(jobs, job) == expected


async def test_what_does_not_expire(jobs: AllJobs) -> None:
    """Pinned, under way, still looked after by a worker, deleted already."""
    pinned, busy, gone = [await ended_ago(jobs, LONG_AGO) for _ in range(3)]
    active = await jobs.create(
        application="other", submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    await jobs.announce(retention(2), NOTICE)
    await _change(jobs, busy, owner=1)
    for job in (pinned, busy, gone):
        await time_passes(jobs, job, LONG_AGO)
    await jobs.pin(pinned, max_pins=1)
    await jobs.request_deletion(gone.id)
    await jobs.announce(retention(2), NOTICE)
    assert await jobs.expired(retention(2), NOTICE, limit=10) == []
    assert await deleted(jobs) == set()
    assert await expires_in(jobs, active) is None
    await jobs.unpin(pinned)  # it is told anew
    await jobs.announce(retention(2), NOTICE)
    assert await expires_in(jobs, pinned) == 1
    await jobs.release([busy.id])
    assert await deleted(jobs) == {busy.id}


async def test_pinned_after_it_was_announced_and_was_due(jobs: AllJobs) -> None:
    job = await ended_ago(jobs, LONG_AGO)
    await jobs.announce(retention(2), NOTICE)
    await time_passes(jobs, job, LONG_AGO)
    await jobs.pin(job, max_pins=1)
    assert await deleted(jobs) == set()


async def test_no_more_than_asked_for_at_once(jobs: AllJobs) -> None:
    ended = [await ended_ago(jobs, LONG_AGO) for _ in range(3)]
    await jobs.announce(retention(2), NOTICE)
    for job in ended:
        await time_passes(jobs, job, LONG_AGO)
    assert len(await jobs.delete_expired(limit=2)) == 2
    assert len(await jobs.delete_expired(limit=2)) == 1


async def test_a_rename_does_not_prolong(jobs: AllJobs) -> None:
    job = await ended_ago(jobs, LONG_AGO)
    await jobs.announce(retention(30), NOTICE)
    await jobs.rename(job.id, "other name")
    await jobs.announce(retention(30), NOTICE)
    assert await expires_in(jobs, job) == 20


@pytest.mark.parametrize("how", ["completed", "failed", "cancelled", "linked"])
async def test_every_end_is_written_down(jobs: AllJobs, how: str) -> None:
    if how == "linked":
        job_id = await jobs.next_id()
        await jobs.add_completed(job_id=job_id, name="n", application="other", submitter="me")
    else:
        job = await jobs.create(
            application="other", submitter="me", roles=[], command="true", token=uuid.uuid4()
        )
        job_id = job.id
        assert job.ended_on is None
        if how == "completed":
            await _change(jobs, job, state="staging_out")
            await jobs.complete(job_id)
        elif how == "failed":
            await jobs.fail(job_id, CommandFailed("It failed."))
        else:
            await jobs.request_cancel(job_id)
    ended = await jobs.get(job_id)
    assert ended.ended_on is not None
    assert abs(ended.ended_on - datetime.now(UTC)) < timedelta(minutes=5)
