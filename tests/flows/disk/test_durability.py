"""What is on the disk for good, and when."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from flows.disk import durability
from flows.disk.durability import DurableDisk
from flows.errors import Unavailable
from tests.waiting import until


class Calls:
    """Of the system, each of which waits to be let through."""

    def __init__(self) -> None:
        self.begun = 0
        self.written = 0
        self.seen: list[int] = []
        self.through = threading.Semaphore(0)
        self.error: OSError | None = None

    def __call__(self, _directory: Path) -> None:
        self.begun += 1
        self.seen.append(self.written)
        self.through.acquire()
        if self.error is not None:
            raise self.error


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    calls = Calls()
    monkeypatch.setattr(durability, "syncfs", calls)
    return calls


async def test_the_real_call(tmp_path: Path) -> None:
    await DurableDisk(tmp_path).sync()
    with pytest.raises(Unavailable, match="No such file"):
        await DurableDisk(tmp_path / "missing").sync()


async def test_many_share_a_call_that_begins_after_they_wrote(tmp_path: Path, calls: Calls) -> None:
    disk = DurableDisk(tmp_path)
    first = asyncio.create_task(disk.sync())
    await until(lambda: calls.begun == 1)
    calls.written = 1
    others = [asyncio.create_task(disk.sync()) for _ in range(50)]
    calls.through.release()
    await first
    await until(lambda: calls.begun == 2)
    assert not any(other.done() for other in others)
    calls.through.release()
    await asyncio.gather(*others)
    assert calls.seen == [0, 1]


async def test_who_goes_away_takes_nobody_along(tmp_path: Path, calls: Calls) -> None:
    disk = DurableDisk(tmp_path)
    tasks = [asyncio.create_task(disk.sync()) for _ in range(2)]
    await until(lambda: calls.begun == 1)
    tasks[0].cancel()
    calls.through.release()
    await tasks[1]
    assert tasks[0].cancelled()


async def test_a_disk_that_fails_is_said_to_all_and_asked_again(tmp_path: Path, calls: Calls) -> None:
    disk = DurableDisk(tmp_path)
    calls.error = OSError(errno.EIO, os.strerror(errno.EIO))
    calls.through.release()
    errors = await asyncio.gather(disk.sync(), disk.sync(), return_exceptions=True)
    assert [isinstance(error, Unavailable) for error in errors] == [True, True]
    calls.error = None
    calls.through.release()
    await disk.sync()
