"""Tasks that are ended and waited for."""

import asyncio
from contextlib import suppress

import pytest

from flows.waiting.cancelling import cancel


class Slow:
    """Takes its time to end."""

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.may_end = asyncio.Event()
        self.ended = False

    async def work(self) -> None:
        self.began.set()
        while not self.may_end.is_set():
            with suppress(asyncio.CancelledError):
                await self.may_end.wait()
        self.ended = True


async def test_tasks_have_ended() -> None:
    slow = Slow()
    task = asyncio.create_task(slow.work())
    await slow.began.wait()
    ending = asyncio.create_task(cancel([task, None]))
    await asyncio.sleep(0)
    assert not ending.done()
    slow.may_end.set()
    await ending
    assert slow.ended


async def test_tasks_have_ended_when_who_waits_for_that_is_cancelled() -> None:
    slow = Slow()
    task = asyncio.create_task(slow.work())
    await slow.began.wait()
    ending = asyncio.create_task(cancel([task]))
    await asyncio.sleep(0)
    ending.cancel()
    await asyncio.sleep(0)
    assert not ending.done()
    slow.may_end.set()
    with pytest.raises(asyncio.CancelledError):
        await ending
    assert slow.ended


async def test_how_they_ended_is_theirs_to_tell() -> None:
    async def fail() -> None:
        raise ValueError("theirs")

    task = asyncio.create_task(fail())
    await asyncio.wait([task])
    await cancel([task])
    with pytest.raises(ValueError, match="theirs"):
        task.result()
