"""One question to a destination in an interval, whichever worker asks."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from flows.database.pool import Pool
from flows.jobs.question_turns import QuestionTurns, question_table


async def test_one_of_many_has_the_turn(pool: Pool, database_url: URL) -> None:
    other = Pool(database_url)  # another worker's
    try:
        turns = [QuestionTurns(pool, "a"), QuestionTurns(other, "a")] * 5
        waits = await asyncio.gather(*(one.take(60.0) for one in turns))
        assert sorted(waits)[0] == 0.0
        assert all(0 < wait <= 60 for wait in sorted(waits)[1:])
        assert await QuestionTurns(other, "b").take(60.0) == 0.0
    finally:
        await other.close()


@pytest.mark.parametrize("worker", [0, 1])
async def test_the_next_turn_is_anybodys(pool: Pool, worker: int) -> None:
    turns = [QuestionTurns(pool, "a"), QuestionTurns(pool, "a")]
    assert await turns[0].take(60.0) == 0.0
    over = sa.func.clock_timestamp()
    await pool.fetch(sa.update(question_table).values(next_on=over))
    assert await turns[worker].take(60.0) == 0.0
    assert await turns[1 - worker].take(60.0) > 0
