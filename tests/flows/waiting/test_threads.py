"""Threads whose end is waited for."""

import asyncio
import concurrent.futures
import threading
from collections.abc import Iterator

import pytest

from flows.waiting.threads import to_the_end


@pytest.fixture
def may_end() -> Iterator[threading.Event]:
    event = threading.Event()
    yield event
    event.set()


async def test_its_result_and_its_error() -> None:
    assert await to_the_end(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await to_the_end(lambda: 1 // 0)


async def test_it_is_waited_for_however_often_that_is_cancelled(may_end: threading.Event) -> None:
    began, stops = asyncio.Event(), []
    loop = asyncio.get_running_loop()

    def work() -> None:
        loop.call_soon_threadsafe(began.set)
        may_end.wait()

    waiting = asyncio.create_task(to_the_end(work, stop=lambda: stops.append("told")))
    await began.wait()
    for _ in range(3):
        waiting.cancel()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
    may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert stops == ["told"]


async def test_a_thread_of_ones_own() -> None:
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="ours") as executor:
        name = await to_the_end(lambda: threading.current_thread().name, executor=executor)
    assert name.startswith("ours")
