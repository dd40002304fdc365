"""A directory for temporary files that does not outlast its process by much.

Each process has one, with a lock that the kernel lets go of when the process dies. The next one to start
removes what nobody holds the lock of.
"""

import asyncio
import logging
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

from flows.disk import locks, private_files

logger = logging.getLogger(__name__)

_LOCK = "lock"


@asynccontextmanager
async def scratch(parent: Path) -> AsyncIterator[Path]:
    """Yield a new private directory below ``parent``; remove it at the end."""
    directory = parent / uuid.uuid4().hex
    lock = await asyncio.to_thread(_make, parent, directory)
    try:
        yield directory
    finally:
        await asyncio.to_thread(remove_directory, directory)
        os.close(lock)


def _make(parent: Path, directory: Path) -> int:
    private_files.make_directory(parent)
    # One at a time: a directory that is not locked yet is not one that was left.
    with _held(parent / _LOCK):
        for path in parent.iterdir():
            with suppress(FileNotFoundError):  # a process that stops removes its own just now
                if path.is_dir() and not is_in_use(path):
                    remove_directory(path)
        directory.mkdir(mode=0o700)
        lock = locks.opened(directory / _LOCK)
        locks.wait_for(lock)
    return lock


def is_in_use(directory: Path) -> bool:
    """Return whether its process is there; raise FileNotFoundError where there is no such directory."""
    lock = locks.opened(directory / _LOCK)
    try:
        return not locks.try_to_take(lock)
    finally:
        os.close(lock)


def remove_directory(directory: Path) -> None:
    """Remove the directory and what is in it, as far as that goes now."""
    try:
        shutil.rmtree(directory)
    except OSError:  # a command has shut us out of what it made there
        logger.warning("%s cannot be removed; the next start tries again", directory, exc_info=True)


@contextmanager
def _held(path: Path) -> Iterator[None]:
    lock = locks.opened(path)
    try:
        locks.wait_for(lock)
        yield
    finally:
        os.close(lock)
