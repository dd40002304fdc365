"""Whose turn it is: so many commands at once in this process, and one at a time in each job's directory."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

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
        self._room = slots * _LINE
        self._locks = locks

    @contextmanager
    def line(self) -> Iterator[None]:
        """Stand in line; raise Unavailable where it is too long, so that what is held for it is bounded."""
        if not self._room:
            raise Unavailable("Too many interactive applications are running; try again in a few seconds.")
        self._room -= 1
        try:
            yield
        finally:
            self._room += 1

    @asynccontextmanager
    async def turn(self, directory: Path, patience: float | None = None) -> AsyncIterator[int]:
        """Yield the opened directory once it is our turn; raise NoDirectory, or Unavailable after a while.

        That is after ``patience`` seconds, or as long as a visitor waits.
        """
        job = _Directory(directory, self._locks)
        slot = False
        try:
            await to_the_end(job.open)
            try:
                async with asyncio.timeout(PATIENCE if patience is None else patience):
                    # The job's first: who waits for their own job is in nobody else's way.
                    while not await to_the_end(job.lock):  # noqa: ASYNC110 - of other processes, too
                        await asyncio.sleep(_LOOK_INTERVAL)
                    slot = await self._slots.acquire()
            except TimeoutError as error:
                raise Unavailable(
                    "Other interactive applications are running; try again in a few seconds."
                ) from error
            yield job.descriptor
        finally:
            if slot:
                self._slots.release()
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
