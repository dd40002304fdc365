"""What becomes of a request when the disk has no room for what it brings."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from flows.errors import Unavailable


class StorageFull(Unavailable):
    """The disk has no room for the upload."""


@contextmanager
def room_or_storage_full() -> Iterator[None]:
    """Turn the error of a disk that is full into StorageFull; others pass."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise StorageFull("There is no room for the upload now; try again later.") from error
        raise
