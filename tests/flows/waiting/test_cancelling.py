"""Tasks that are ended and waited for."""

import asyncio
from contextlib import suppress

import pytest

from flows.waiting.cancelling import cancel, cancel_soon, ended_on_purpose


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


class Guarded:
    """A task with a block that is cancelled, and what comes after it."""

    def __init__(self, *, meant: bool) -> None:
        self._meant = meant
        self.began = asyncio.Event()
        self.after: bool | None = None

    async def work(self) -> None:
        with ended_on_purpose(lambda: self._meant) as ending:
            self.began.set()
            await asyncio.Event().wait()
        await asyncio.sleep(0)  # which raises where the cancellation is not over
        self.after = ending.on_purpose


async def test_a_block_that_is_ended_on_purpose() -> None:
    guarded = Guarded(meant=True)
    task = asyncio.create_task(guarded.work())
    await guarded.began.wait()
    task.cancel()
    await task
    assert (guarded.after, task.cancelling()) == (True, 0)


async def test_a_cancellation_that_is_not_for_the_block() -> None:
    guarded = Guarded(meant=False)
    task = asyncio.create_task(guarded.work())
    await guarded.began.wait()
    await cancel([task])
    assert task.cancelled()
    assert guarded.after is None


async def test_a_process_that_stops_meanwhile() -> None:
    guarded = Guarded(meant=True)
    task = asyncio.create_task(guarded.work())
    await guarded.began.wait()
    task.cancel()
    await cancel([task])
    assert task.cancelled()
    assert guarded.after is None


async def test_a_block_that_comes_to_its_end() -> None:
    with ended_on_purpose(lambda: True) as ending:
        await asyncio.sleep(0)
    assert not ending.on_purpose


async def test_a_task_is_cancelled_once_it_has_begun() -> None:
    guarded = Guarded(meant=True)
    task = asyncio.create_task(guarded.work())
    cancel_soon(task)
    await task
    assert guarded.after
