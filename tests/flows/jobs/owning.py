"""Jobs, and the workers that own them."""

import uuid
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import Job, job_table
from flows.jobs.leases import Leases
from tests.all_jobs import AllJobs


def owner(store: AllJobs, number: int) -> AllJobs:
    return AllJobs(store.pool, number)


async def worker(store: AllJobs, name: str) -> AllJobs:
    """Return the jobs of a new worker with a lease."""
    return owner(store, await Leases(store.pool).begin(name, "here"))


async def claimed_by(store: AllJobs, name: str, host: str, destination: str | None = None) -> tuple[int, Job]:
    """Return the number of a worker with a lease and a job that it owns."""
    number = await Leases(store.pool).begin(name, host)
    job = await new(store)
    await store.set_flow_run({job.id: uuid.uuid4()})
    mine = owner(store, number)
    assert [claimed.id for claimed in await mine.claim()] == [job.id]
    if destination is not None:
        await mine.set_destination(job.id, destination)
    return number, job


async def new(store: AllJobs, submitter: str = "me") -> Job:
    return await store.create(
        application="wc", submitter=submitter, roles=["a"], command="wc README.md", token=uuid.uuid4()
    )


async def many(store: AllJobs, count: int, submitter: str, state: str = "new") -> None:
    """Make jobs, in one statement; ``new`` ones wait."""
    numbers = sa.func.generate_series(1, count).table_valued("number").render_derived()
    values: dict[str, sa.ColumnElement[Any]] = {
        "name": sa.cast(numbers.c.number, sa.Text),
        "application": sa.literal("wc"),
        "submitter": sa.literal(submitter),
        "roles": sa.literal([], pg.ARRAY(sa.Text)),
        "state": sa.literal(state),
        "command": sa.literal("true"),
        "token": sa.func.gen_random_uuid(),
    }
    await store.pool.fetch(sa.insert(job_table).from_select(list(values), sa.select(*values.values())))
