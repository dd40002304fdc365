"""Waiting for what may happen."""

import asyncio

from flows.waiting.events import happens, unless


async def test_an_event_is_waited_for_so_long() -> None:
    event = asyncio.Event()
    assert not await happens(event, within=0.01)
    asyncio.get_running_loop().call_soon(event.set)
    assert await happens(event, within=60)


async def test_work_is_ended_by_an_event() -> None:
    event = asyncio.Event()
    asyncio.get_running_loop().call_soon(event.set)
    assert not await unless(event, asyncio.sleep(1000))
    assert await unless(asyncio.Event(), asyncio.sleep(0))


async def test_work_and_event_end_in_the_same_step_without_a_complaint() -> None:
    loop, complaints = asyncio.get_running_loop(), list[object]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))
    for order in (1, -1):
        events = asyncio.Event(), asyncio.Event()
        for event in events[::order]:
            loop.call_soon(event.set)
        assert await unless(events[0], _happens(events[1]))
        await asyncio.sleep(0.01)
    assert not complaints


async def _happens(event: asyncio.Event) -> None:
    await event.wait()
