"""What there is to tell of a run, by the clock of a worker and by that of the database."""

import uuid
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from deployments.recording.reports import RunReport
from deployments.recording.route.server import _shifted
from deployments.worker import notes
from deployments.worker.notes import RunNotes
from flows.database.pool import Pool
from tests.all_jobs import AllJobs


@pytest.mark.parametrize("wrong_by", [timedelta(), timedelta(hours=-1), timedelta(hours=1)])
async def test_a_run_is_scheduled_before_it_runs_whatever_the_clock(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, wrong_by: timedelta
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: object = None) -> datetime:  # type: ignore[override]
            return datetime.now(UTC) + wrong_by

    monkeypatch.setattr(notes, "datetime", Clock)
    store = AllJobs(pool)
    job = await store.create(application="a", submitter="me", roles=[], command="true", token=uuid.uuid4())
    run = RunNotes(replace(job, flow_run_id=job.token), lambda _: None)
    run.running()
    report: RunReport = _shifted(run.report(job), -wrong_by)
    scheduled, running = report.states
    assert scheduled.timestamp == scheduled.scheduled_on == report.scheduled_on
    assert scheduled.timestamp < running.timestamp
    for moment in (scheduled.timestamp, running.timestamp):
        assert abs(moment - job.created_on) < timedelta(minutes=20)
