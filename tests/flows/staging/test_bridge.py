"""Threads that wait for the event loop."""

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterator

import pytest

from flows.errors import Unavailable
from flows.staging.bridge import Bridge, Stopped


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    executor = concurrent.futures.ThreadPoolExecutor(1)
    yield Bridge(executor, "far")
    executor.shutdown(wait=False)


async def test_a_thread_waits_for_the_loop(bridge: Bridge) -> None:
    assert await bridge.run(lambda: bridge.wait(asyncio.sleep(0, "done"))) == "done"


async def test_what_takes_too_long_is_unavailable(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.staging.bridge.IDLE_SECONDS", 0.01)
    with pytest.raises(Unavailable, match="far has moved no byte"):
        await bridge.run(lambda: bridge.wait(asyncio.sleep(1000)))


async def test_a_cancellation_stops_who_waits(bridge: Bridge) -> None:
    ended: list[type[BaseException]] = []
    began = asyncio.Event()

    async def for_ever() -> None:
        began.set()
        await asyncio.Event().wait()

    def work() -> None:
        try:
            bridge.wait(for_ever())
        except BaseException as error:
            ended.append(type(error))
            raise

    running = asyncio.create_task(bridge.run(work))
    await began.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended == [Stopped]


async def test_a_thread_that_waits_for_the_disk_is_not_left_alone(bridge: Bridge) -> None:
    """A job is cancelled while its transfer waits for the disk; then the worker stops."""
    began, disk = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    ended = False

    def work() -> None:
        nonlocal ended
        loop.call_soon_threadsafe(began.set)
        disk.wait()
        ended = True

    running = asyncio.create_task(bridge.run(work))
    try:
        await began.wait()
        for _ in range(2):
            running.cancel()
            await asyncio.wait([running], timeout=0.01)
    finally:
        disk.set()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert ended
