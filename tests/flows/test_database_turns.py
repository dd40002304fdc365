"""Who waits for a connection gets one before those who came later."""

import asyncio

import pytest
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncEngine

from flows.database import Database, Turns
from flows.errors import Unavailable
from tests.waiting import LONG_ENOUGH


async def test_in_the_order_in_which_they_came() -> None:
    turns = Turns(1, 60)
    came: list[int] = []

    async def ask(number: int, again: bool) -> None:
        async with turns.turn():
            came.append(number)
            await asyncio.sleep(0)
        if again:  # at once, when others wait
            await ask(number + 10, False)

    await asyncio.gather(*(ask(number, True) for number in range(3)))
    assert came == [0, 1, 2, 10, 11, 12]


async def test_a_turn_that_does_not_come(engine: AsyncEngine) -> None:
    turns = Turns(1, 0.05)
    database = Database(engine, turns)
    async with database.connection() as connection:
        with pytest.raises(Unavailable):
            async with database.connection():
                raise AssertionError("there was only one turn")
        assert (await connection.execute(sa.select(1))).scalar_one() == 1
    async with database.connection() as connection:
        assert (await connection.execute(sa.select(1))).scalar_one() == 1


async def test_who_gives_up_waiting_takes_no_turn() -> None:
    turns = Turns(1, 60)

    async def ask() -> None:
        async with turns.turn():
            pass

    async with turns.turn():
        waiting = asyncio.create_task(ask())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait([waiting])
    async with asyncio.timeout(LONG_ENOUGH):
        await ask()
