"""What is known of submitters beside their jobs."""

import sqlalchemy as sa

from flows.database.pool import Pool
from flows.jobs.shares import submitter_table
from flows.upkeep.store import UpkeepStore
from tests.all_jobs import AllJobs
from tests.flows.jobs.owning import new

LONG_AGO = sa.text("now() - interval '25 hours'")


async def test_who_has_no_job_is_forgotten_after_a_day(pool: Pool) -> None:
    known = [
        {"name": "has one", "last_turn_on": LONG_AGO},
        {"name": "turn", "last_turn_on": LONG_AGO},
        {"name": "hour", "hour_began_on": LONG_AGO},
        {"name": "lately", "last_turn_on": LONG_AGO, "hour_began_on": sa.func.now()},
    ]
    for values in known:
        await pool.fetch(sa.insert(submitter_table).values(values))
    await new(AllJobs(pool), "has one")
    await UpkeepStore(pool).forget_submitters()
    left = await pool.fetch(sa.select(submitter_table.c.name))
    assert sorted(name for (name,) in left) == ["has one", "lately"]
