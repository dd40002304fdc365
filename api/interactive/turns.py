"""Whose turn it is: so many commands at once in this process, and one at a time in each job's directory.

No visitor takes all of it, so that others need not wait for theirs: the last slot is never for somebody who
has the others, nor are the last places of the line.
"""

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from weakref import WeakValueDictionary

from flows.disk import locks
from flows.errors import Unavailable
from flows.waiting.threads import to_the_end

PATIENCE = 10.0
"""Seconds that a visitor waits for a turn."""

_LINE = 8  # visitors for each slot who may be waiting, sending or being served
_LOCKS = 4096  # files; two jobs that share one wait for each other
_LOOK_INTERVAL = 0.05


class NoDirectory(Exception):
    """The job has no directory that can be opened."""


class Turns:
    """Gives turns. ``locks`` is a directory that all processes use."""

    def __init__(self, slots: int, locks: Path) -> None:
        self._slots = asyncio.Semaphore(slots)
        self._slots_each = max(1, slots - 1)
        self._visitors: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._places = slots * _LINE
        self._taken: Counter[str] = Counter()
        self._locks = locks

    @contextmanager
    def line(self, visitor: str) -> Iterator[None]:
        """Stand in line; raise Unavailable where it is too long, so that what is held for it is bounded."""
        free = self._places - self._taken.total()
        if self._taken[visitor] >= free:
            raise Unavailable("Too many interactive applications are running; try again in a few seconds.")
        self._taken[visitor] += 1
        try:
            yield
        finally:
            self._taken[visitor] -= 1
            self._taken = +self._taken

    @asynccontextmanager
    async def turn(self, visitor: str, directory: Path, patience: float | None = None) -> AsyncIterator[int]:
        """Yield the opened directory once it is our turn; raise NoDirectory, or Unavailable after a while.

        That is after ``patience`` seconds, or as long as a visitor waits.
        """
        job = _Directory(directory, self._locks)
        slots = [self._visitors.setdefault(visitor, asyncio.Semaphore(self._slots_each)), self._slots]
        held: list[asyncio.Semaphore] = []
        try:
            await to_the_end(job.open)
            try:
                async with asyncio.timeout(PATIENCE if patience is None else patience):
                    # The job's first: who waits for their own job is in nobody else's way.
                    while not await to_the_end(job.lock):  # noqa: ASYNC110 - of other processes, too
                        await asyncio.sleep(_LOOK_INTERVAL)
                    for slot in slots:
                        await slot.acquire()
                        held.append(slot)
            except TimeoutError as error:
                raise Unavailable(
                    "Other interactive applications are running; try again in a few seconds."
                ) from error
            yield job.descriptor
        finally:
            for slot in held:
                slot.release()
            job.close()


class _Directory:
    """A job's directory, which may be a link. The methods wait for the disk, except ``close``."""

    def __init__(self, path: Path, locks: Path) -> None:
        self._path = path
        self._locks = locks
        self._opened: list[int] = []

    @property
    def descriptor(self) -> int:
        return self._opened[0]

    def open(self) -> None:
        try:
            self._opened.append(os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        except (FileNotFoundError, NotADirectoryError, PermissionError) as error:
            raise NoDirectory(str(self._path)) from error
        # Not the directory itself is locked: on NFS that takes a file that is open for writing.
        status = os.fstat(self.descriptor)
        name = f"{(status.st_dev + status.st_ino) % _LOCKS:03x}"
        self._opened.append(locks.opened(self._locks / name))

    def lock(self) -> bool:
        """Return whether nobody else has it."""
        return locks.try_to_take(self._opened[1])

    def close(self) -> None:
        for descriptor in self._opened:
            os.close(descriptor)
        self._opened.clear()
