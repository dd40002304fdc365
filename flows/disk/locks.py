"""Files that one process at a time holds; the kernel lets go of them when it dies."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from flows.errors import ConfigurationError


def opened(path: Path) -> int:
    """Return a descriptor of the lock file, which is made if need be. Who closes it lets go of the lock."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def wait_for(descriptor: int) -> None:
    """Take the lock when nobody else has it any more."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)


def try_to_take(descriptor: int) -> bool:
    """Take the lock unless somebody else has it; return whether it is ours."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def exclusive(path: Path, way_out: str) -> Iterator[None]:
    """Hold the lock file ``path``, which has our process id in it.

    Raises ConfigurationError naming the process that holds it.
    """
    descriptor = opened(path)
    try:
        if not try_to_take(descriptor):
            process = os.pread(descriptor, 32, 0).decode().strip() or "unknown"
            raise ConfigurationError(f"{path.parent}: is in use by process {process}; {way_out}")
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def holder(path: Path) -> int | None:
    """Return the id of the process that holds the lock file, or None when nobody does."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if try_to_take(descriptor) else int(os.pread(descriptor, 32, 0) or 0)
    finally:
        os.close(descriptor)
