"""What pickers see of the destinations."""

import asyncio
import uuid

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.jobs.destination_reports import Reports, report_table
from flows.jobs.job import State, job_table
from flows.lifecycle.conditions import Conditions
from flows.pickers import Condition
from tests.all_jobs import AllJobs

NAMES = ["a", "b", "c"]


async def put(pool: Pool, destination: str, *states: State) -> None:
    store = AllJobs(pool)
    for state in states:
        job = await store.create(application="x", submitter="me", roles=[], command="", token=uuid.uuid4())
        await store.set_destination(job.id, destination)
        await pool.fetch(sa.update(job_table).where(job_table.c.id == job.id).values(state=state))


async def test_jobs_and_reports(pool: Pool) -> None:
    await put(pool, "a", State.NEW, State.QUEUED, State.RUNNING, State.STAGING_OUT, State.OK, State.ERROR)
    await put(pool, "b", State.RUNNING)
    await put(pool, "gone", State.RUNNING)
    reports = Reports(pool)
    await reports.write("a", "other", latency=None, error="away")
    await reports.write("a", "w", latency=0.1, error=None)
    await reports.write("b", "other", latency=None, error="away")
    await reports.write("b", "third", latency=0.1, error=None)
    assert dict(await Conditions(pool, NAMES, "w").found()) == {
        "a": Condition(queued=2, running=2, reachable=True),  # as this worker sees it
        "b": Condition(running=1, reachable=False),
        "c": Condition(),
    }
    await pool.fetch(sa.update(report_table).values(checked_on=sa.func.now() - sa.text("interval '1 hour'")))
    assert (await Conditions(pool, NAMES, "w").found())["b"].reachable is None


async def test_those_that_come_together_share_a_look(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    conditions, looks = Conditions(pool, NAMES, "w"), 0
    newest = Reports.newest

    async def counted(reports: Reports) -> object:
        nonlocal looks
        looks += 1
        return await newest(reports)

    monkeypatch.setattr(Reports, "newest", counted)
    found = await asyncio.gather(*(conditions.found() for _ in range(20)))
    assert looks == 1
    conditions.picked("b")
    assert found[0]["b"] == Condition(queued=1)
    conditions.picked("nowhere")
