"""The counting of channels, without any."""

import asyncio

from flows.ssh.slots import SESSIONS, Slots


async def taken(slots: Slots) -> int:
    """Take all that are free."""
    before = slots.used
    while True:
        try:
            async with asyncio.timeout(0):
                await slots.take()
        except TimeoutError:
            return slots.used - before


async def test_so_many_at_first() -> None:
    slots = Slots()
    assert await taken(slots) == SESSIONS
    slots.give_back()
    assert await taken(slots) == 1


async def test_fewer_where_the_host_refuses_one_and_again_as_many_on_a_new_connection() -> None:
    slots = Slots()
    await taken(slots)
    slots.narrow()
    for _ in range(SESSIONS):
        slots.give_back()
    assert await taken(slots) == SESSIONS - 1
    slots.widen()
    assert await taken(slots) == 1


async def test_one_at_the_least_once_those_that_were_free_have_been_used() -> None:
    slots = Slots()
    await slots.take()
    slots.narrow()
    slots.give_back()
    for _ in range(await taken(slots)):
        slots.give_back()
    assert await taken(slots) == 1
