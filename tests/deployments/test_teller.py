"""What Prefect is told of runs, when, and what becomes of its answers."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from deployments.recording.reports import Answer, RunReport, Verdict
from deployments.worker import teller
from deployments.worker.notes import RunNotes
from deployments.worker.teller import REFUSALS, Teller
from deployments.worker.waiting_jobs import tell_of_waiting_jobs
from flows.database.pool import Pool
from flows.errors import CommandFailed
from flows.jobs import told as told_jobs
from flows.jobs.job import Job
from flows.jobs.leases import Leases
from flows.waiting.cancelling import cancel
from flows.waiting.patience import Delays
from tests.all_jobs import AllJobs
from tests.deployments.recorders import Recorder
from tests.e2e.service import until


class Site:
    """A worker that runs nothing, and what it was asked to do."""

    def __init__(self, jobs: AllJobs) -> None:
        self.jobs = jobs
        self.recorder = Recorder()
        self.settled: list[int] = []
        self.ended_for_operators: list[int] = []
        self.teller = Teller(self.recorder, jobs, heed=self._heed, settle=self._settle)

    def _heed(self, notes: RunNotes) -> None:
        self.ended_for_operators.append(notes.job.id)

    async def _settle(self, over: Sequence[RunNotes]) -> None:
        self.settled += [job.id for job in await self.jobs.release([notes.job.id for notes in over])]

    async def claimed(self) -> Job:
        await self.jobs.create(application="wc", submitter="me", roles=[], command="true", token=uuid.uuid4())
        [job] = await self.jobs.claim()
        return job

    async def ended(self, job: Job) -> Job:
        await self.jobs.fail(job.id, CommandFailed("bad input"))
        return await self.jobs.get(job.id)

    def notes(self, job: Job) -> RunNotes:
        return RunNotes(job, self.teller.changed)


@pytest.fixture
async def site(pool: Pool) -> Site:
    return Site(AllJobs(pool, await Leases(pool).begin("w", "here")))


@pytest.fixture
async def told(site: Site, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Site]:
    """The site with a teller that tells by itself."""
    monkeypatch.setattr(teller, "INTERVAL", 0.0)
    monkeypatch.setattr(teller, "DELAYS", Delays(0.01, longest=0.01))
    telling = asyncio.create_task(site.teller.run())
    yield site
    await cancel([telling])


def always(verdict: Verdict, text: str = "") -> Any:
    return lambda report: Answer(verdict, text)


async def test_a_run_that_ends_soon_is_told_of_once(site: Site) -> None:
    job = await site.claimed()
    notes = site.notes(job)
    notes.running()
    await site.teller.tell()
    assert not site.recorder.batches  # it may end yet
    notes.ended(await site.ended(job))
    await site.teller.tell()
    assert site.recorder.names() == [["Scheduled", "Running", "Failed"]]
    [report] = site.recorder.reports
    assert (report.flow_run_id, report.known, report.states[-1].message) == (job.token, False, "bad input")
    assert site.settled == [job.id]
    assert job.token not in site.teller
    await site.teller.tell()
    assert len(site.recorder.batches) == 1


async def test_a_run_that_lasts_is_told_of_as_it_goes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    job = await site.claimed()
    notes = site.notes(job)
    monkeypatch.setattr(teller, "SHORT", 0.0)
    notes.running()
    await site.teller.tell()
    assert (await site.jobs.get(job.id)).recorded
    assert job.token not in site.teller
    task = notes.task("upload", "upload-1", {"job_id": job.id})
    task.running()
    await site.teller.tell()
    task.completed(None, "kept")
    notes.ended(await site.ended(job))
    await site.teller.tell()
    assert site.recorder.names() == [["Scheduled", "Running"], ["Running"], ["Running", "Failed"]]
    assert [report.known for report in site.recorder.reports] == [False, True, True]
    assert [[task.states[-1].name for task in report.tasks] for report in site.recorder.reports] == [
        [],
        ["Running"],
        ["Completed"],
    ]
    assert site.settled == [job.id]


async def test_what_was_told_of_a_step_that_is_over_is_not_repeated(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "SHORT", 0.0)
    notes = site.notes(await site.claimed())
    notes.running()
    first = notes.task("upload", "upload-1", {})
    first.completed("a", "kept")
    await site.teller.tell()
    second = notes.task("submit", "submit-1", {"given": first.returned, "nothing": None})
    second.running()
    await site.teller.tell()
    [before, after] = site.recorder.reports
    assert [task.task for task in before.tasks] == ["upload"]
    assert [task.task for task in after.tasks] == ["submit"]
    assert after.tasks[0].inputs == {"given": [first.id], "nothing": []}


async def test_states_that_come_while_it_is_told_are_told_next(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "SHORT", 0.0)
    job = await site.claimed()
    notes = site.notes(job)
    notes.running()
    ended = await site.ended(job)

    def meanwhile(report: RunReport) -> Answer:
        if not notes.has_ended:
            notes.ended(ended)
        return Answer(Verdict.WRITTEN)

    site.recorder.rule = meanwhile
    await site.teller.tell()
    assert site.recorder.names() == [["Scheduled", "Running"], ["Failed"]]
    assert site.settled == [job.id]


async def test_what_prefect_could_not_hear_is_told_when_it_is_back(
    told: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Jobs do not wait for that for long, whether they begin or end."""
    monkeypatch.setattr(teller, "PATIENCE", 0.1)
    told.recorder.is_away = True
    known = await told.claimed()
    await told.jobs.set_recorded([known.id])
    first = told.notes(await told.jobs.get(known.id))
    first.running()
    assert await told.teller.answer(first) is None
    first.ended(await told.ended(known))
    second = await told.claimed()
    told.notes(second).ended(await told.ended(second))
    assert (await told.jobs.get(second.id)).owner is not None  # whoever takes it over has to tell
    told.recorder.is_away = False

    async def all_are_settled() -> bool:
        return sorted(told.settled) == [known.id, second.id]

    await until(all_are_settled)
    assert sorted(told.recorder.names()) == [["Running", "Failed"], ["Scheduled", "Failed"]]


async def test_a_job_waits_for_the_answer_through_errors_that_pass(told: Site) -> None:
    """It may be that an operator has cancelled it: then it must not begin."""
    job = await told.claimed()
    notes = told.notes(job)
    notes.running()
    told.recorder.away_for = 3
    told.recorder.rule = always(Verdict.DELETED)
    assert await told.teller.answer(notes) is Verdict.DELETED
    assert told.recorder.away_for == 0


async def test_one_that_was_taken_over_says_nothing(site: Site) -> None:
    job = await site.claimed()
    notes = site.notes(job)
    notes.ended(await site.ended(job))
    await Leases(site.jobs.pool).end(site.jobs.owner or 0)
    other = AllJobs(site.jobs.pool, await Leases(site.jobs.pool).begin("other", "here"))
    assert [taken.id for taken in await other.take_over("other", "here", [])] == [job.id]
    await site.teller.tell()
    assert not site.recorder.batches
    assert job.token not in site.teller


@pytest.mark.parametrize("verdict", [Verdict.CANCELLING, Verdict.CANCELLED])
async def test_an_operators_cancel_ends_the_job(
    site: Site, monkeypatch: pytest.MonkeyPatch, verdict: Verdict
) -> None:
    monkeypatch.setattr(teller, "SHORT", 0.0)
    job = await site.claimed()
    notes = site.notes(job)
    notes.running()
    site.recorder.rule = always(verdict)
    await site.teller.tell()
    assert site.ended_for_operators == [job.id]
    notes.ended(await site.ended(job))
    await site.teller.tell()
    assert (site.ended_for_operators, site.settled) == ([job.id], [job.id])


async def test_of_a_run_that_was_deleted_nothing_more_is_told(
    told: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(teller, "SHORT", 0.0)
    job = await told.claimed()
    notes = told.notes(job)
    told.recorder.rule = always(Verdict.DELETED)
    notes.running()
    assert await told.teller.answer(notes) is Verdict.DELETED
    notes.task("submit", "submit-1", {}).running()
    notes.ended(await told.ended(job))

    async def is_settled() -> bool:
        return told.settled == [job.id]

    await until(is_settled)
    assert len(told.recorder.reports) == 1


async def test_nobody_waits_for_an_answer_about_a_run_that_is_told_no_more(site: Site) -> None:
    """Its flow broke off, and begins again."""
    notes = site.notes(await site.claimed())
    notes.is_silent = True
    notes.running_again()
    assert await site.teller.answer(notes) is None
    assert not site.recorder.batches


async def test_what_prefect_refuses_is_not_told_for_ever(
    told: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(teller, "SHORT", 0.0)
    bad, good = await told.claimed(), await told.claimed()
    told.recorder.rule = lambda report: (
        Answer(Verdict.REFUSED, "no such text")
        if report.flow_run_id == bad.token
        else Answer(Verdict.WRITTEN)
    )
    notes = told.notes(bad)
    notes.running()
    assert await told.teller.answer(notes) is None  # the job goes on
    notes.ended(await told.ended(bad))
    told.notes(good).ended(await told.ended(good))

    async def both_are_settled() -> bool:
        return sorted(told.settled) == [bad.id, good.id]

    await until(both_are_settled)
    assert len([report for report in told.recorder.reports if report.flow_run_id == bad.token]) == REFUSALS
    assert (
        f"Prefect refuses what it is told of job {bad.id}; it is not told again: no such text" in caplog.text
    )


async def test_a_hundred_runs_are_one_batch_sorted_by_their_ids(site: Site) -> None:
    for _ in range(120):
        await site.jobs.create(application="wc", submitter="me", roles=[], command="true", token=uuid.uuid4())
    jobs = await site.jobs.claim(limit=120)
    for job in jobs:
        site.notes(job).ended(await site.ended(job))
    await site.teller.tell()
    assert [len(batch) for batch in site.recorder.batches] == [100, 20]
    for batch in site.recorder.batches:
        assert [report.flow_run_id for report in batch] == sorted(report.flow_run_id for report in batch)


async def test_a_worker_that_stops_tells_what_has_ended(site: Site) -> None:
    over, goes_on = await site.claimed(), await site.claimed()
    site.notes(goes_on).running()
    site.notes(over).ended(await site.ended(over))
    await site.teller.last_words(60)
    assert [report.flow_run_id for report in site.recorder.reports] == [over.token]
    site.recorder.is_away = True
    site.notes(goes_on).ended(await site.ended(goes_on))
    await site.teller.last_words(60)  # is not waited for
    assert (await site.jobs.get(goes_on.id)).owner is not None


async def test_jobs_that_wait_are_told_of_as_scheduled(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told_jobs, "WAITS", timedelta())
    made = [
        await site.jobs.create(application="wc", submitter="me", roles=[], command="true", token=uuid.uuid4())
        for _ in range(120)
    ]
    refused = made[3].token
    site.recorder.rule = lambda report: Answer(
        Verdict.REFUSED if report.flow_run_id == refused else Verdict.WRITTEN
    )
    await tell_of_waiting_jobs(site.jobs, site.recorder)
    assert sorted(len(batch) for batch in site.recorder.batches) == [20, 100]
    assert {name for [name] in site.recorder.names()} == {"Scheduled"}
    assert {report.flow_run_id for report in site.recorder.reports} == {job.token for job in made}
    recorded = {job.id for job in made if (await site.jobs.get(job.id)).recorded}
    assert recorded == {job.id for job in made} - {made[3].id}
    # One that is begun then says the same of how it began.
    [job] = await site.jobs.claim(limit=1)
    assert job.recorded
    again = RunNotes(replace(job, recorded=False), lambda _: None).report(job)
    [first] = [report for report in site.recorder.reports if report.flow_run_id == job.token]
    assert again.states == first.states
