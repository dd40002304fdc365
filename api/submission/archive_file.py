"""The archive of a submission on its way from the socket to the disk: one copy, never whole in memory."""

import os
import threading
from pathlib import Path
from typing import BinaryIO

from api.http.bodies import UploadTooLarge
from api.http.storage import room_or_storage_full
from flows.disk.durability import fsync


class Archive:
    """The file of one upload. Its methods wait for the disk: call them in a thread.

    Once discarded it stays away, whatever a thread that was on its way still writes.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self.path = path
        self._limit = limit
        self._size = 0
        self._file: BinaryIO | None = None
        self._discarded = False
        self._lock = threading.Lock()

    @property
    def size(self) -> int:
        """Bytes that were written so far."""
        return self._size

    def write(self, data: bytes | memoryview) -> None:
        """Append to the file; raise UploadTooLarge or StorageFull."""
        with self._lock:
            if self._discarded:
                return
            self._size += len(data)
            if self._size > self._limit:
                raise UploadTooLarge(self._limit)
            with room_or_storage_full():
                rest = memoryview(data)
                while rest:  # the last bytes that the disk has room for are written without an error
                    rest = rest[self._opened().write(rest) :]

    def close(self) -> None:
        """End writing; the file, maybe empty, can then be read by its path."""
        with self._lock:
            if not self._discarded:
                self._opened().close()

    def make_durable(self) -> None:
        """Return once neither the content nor the name can be lost to a power cut."""
        with room_or_storage_full():
            for path in (self.path, self.path.parent):
                fsync(path)

    def discard(self) -> None:
        """Leave nothing behind."""
        with self._lock:
            self._discarded = True
            if self._file is not None:
                self._file.close()
                self.path.unlink(missing_ok=True)

    def _opened(self) -> BinaryIO:
        if self._file is None:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb", buffering=0)
        return self._file
