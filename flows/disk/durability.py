"""What was written is made to outlive a power cut: one file, or all of a disk for all who ask at once."""

import asyncio
import ctypes
import os
from pathlib import Path

from flows.errors import Unavailable

_LIBC = ctypes.CDLL(None, use_errno=True)


class DurableDisk:
    """A filesystem of this machine, named by a directory on it."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._now: asyncio.Future[None] | None = None
        self._next: asyncio.Future[None] | None = None

    async def sync(self) -> None:
        """Return when all that was written before the call is on the disk.

        Raises Unavailable when the disk cannot take it.
        """
        if self._next is None:
            self._next = asyncio.ensure_future(self._round(self._now))
        try:
            await asyncio.shield(self._next)
        except OSError as error:
            text = f"The server's disk does not take the job's files ({error.strerror}); tell the operator."
            raise Unavailable(text) from error

    async def _round(self, before: asyncio.Future[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        # Whoever comes from now on may have written more than this call sees.
        self._now, self._next = self._next, None
        await asyncio.to_thread(syncfs, self._directory)


def fsync(path: Path) -> None:
    """Return when the content of the file, or the names in the directory, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def syncfs(directory: Path) -> None:
    """Return when all that was written to the directory's filesystem is on the disk."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _LIBC.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)
