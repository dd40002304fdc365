"""Waiting for what may happen."""

import asyncio

from flows.waiting.events import happens


async def test_an_event_is_waited_for_so_long() -> None:
    event = asyncio.Event()
    assert not await happens(event, within=0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await happens(event, within=60)
