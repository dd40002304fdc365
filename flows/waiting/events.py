"""Waiting for events, each in one way."""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any


async def happens(event: asyncio.Event, *, within: float) -> bool:
    """Wait for an event, so many seconds at most; whether it is set."""
    with suppress(TimeoutError):
        async with asyncio.timeout(within):
            await event.wait()
    return event.is_set()


async def first(*events: asyncio.Event) -> None:
    """Wait for one of them."""
    waits = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def unless(event: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Await work, in this task; return False where the event ended that."""
    loop = asyncio.get_running_loop()
    wait = asyncio.create_task(event.wait())
    done = False
    try:
        async with asyncio.timeout(None) as deadline:

            def end(_: object) -> None:
                # Both may have ended in one step of the loop: then this comes too late to be called off.
                if not done:
                    deadline.reschedule(loop.time())

            wait.add_done_callback(end)
            try:
                await work
            finally:
                done = True
                wait.remove_done_callback(end)
    except TimeoutError:
        if not deadline.expired():
            raise
        return False
    else:
        return True
    finally:
        wait.cancel()
