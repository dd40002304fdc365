"""Tasks that belong to somebody."""

import asyncio

from flows.waiting.spawned import Spawned


async def test_all_have_ended_even_those_that_came_late() -> None:
    spawned, ended = Spawned(), []

    async def one(name: str) -> None:
        await asyncio.sleep(0)
        if name == "first":
            spawned.start(one("late"))
        ended.append(name)

    spawned.start(one("first"))
    await spawned.ended()
    assert ended == ["first", "late"]
