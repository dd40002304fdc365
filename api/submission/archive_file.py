"""The archive of a submission on its way from the socket to the disk: one copy, never whole in memory."""

import asyncio
import errno
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from starlette.requests import ClientDisconnect

from flows.disk.durability import fsync
from flows.errors import InvalidUpload, Unavailable, VisitorError

# Bytes handed to a thread at once: enough for the hand-over to cost nothing, too few to be felt in memory.
BATCH = 1 << 20
STALLED_AFTER = 60.0  # seconds without a byte


class UploadTooLarge(InvalidUpload):
    """More bytes than the operator allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The upload is too large: at most {limit} bytes are allowed.")


class UploadStalled(VisitorError):
    """The visitor stopped sending."""


class StorageFull(Unavailable):
    """The disk has no room for the upload."""


class Archive:
    """The file of one upload. Its methods wait for the disk: call them in a thread.

    Once discarded it stays away, whatever a thread that was on its way still writes. ``keep`` tells its
    owner not to discard it.
    """

    def __init__(self, path: Path, *, limit: int) -> None:
        self.path = path
        self.limit = limit
        self.keep = False
        self._size = 0
        self._file: BinaryIO | None = None
        self._discarded = False
        self._lock = threading.Lock()

    def write(self, data: bytes | memoryview) -> None:
        """Append to the file; raise UploadTooLarge or StorageFull."""
        with self._lock:
            if self._discarded:
                return
            self._size += len(data)
            if self._size > self.limit:
                raise UploadTooLarge(self.limit)
            try:
                rest = memoryview(data)
                while rest:  # the last bytes that the disk has room for are written without an error
                    rest = rest[self._opened().write(rest) :]
            except OSError as error:
                raise storage_error(error) from error

    def close(self) -> None:
        """End writing; the file, maybe empty, can then be read by its path."""
        with self._lock:
            if not self._discarded:
                self._opened().close()

    def make_durable(self) -> None:
        """Return once neither the content nor the name can be lost to a power cut."""
        try:
            for path in (self.path, self.path.parent):
                fsync(path)
        except OSError as error:
            raise storage_error(error) from error

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


def storage_error(error: OSError) -> Exception:
    """Return StorageFull where the disk is full, the error itself where it is another one."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return StorageFull("There is no room for the upload now; try again later.")
    return error


async def receive_body(request: Request, write: Callable[[bytes], Awaitable[None]], *, limit: int) -> bytes:
    """Hand the body on in batches while it arrives; return what is left after the last full one.

    Raises UploadTooLarge, at once where the length is announced, UploadStalled, and Starlette's
    ClientDisconnect when the visitor goes away half-way.
    """
    announced = request.headers.get("Content-Length", "")
    if announced.isdecimal() and int(announced) > limit:
        raise UploadTooLarge(limit)
    parts: list[bytes] = []
    size = total = 0
    more = True
    while more:
        part, more = await _next_part(request)
        parts.append(part)
        size += len(part)
        total += len(part)
        if total > limit:
            raise UploadTooLarge(limit)
        if size >= BATCH and more:
            await write(b"".join(parts))
            parts, size = [], 0
    return b"".join(parts)


async def _next_part(request: Request) -> tuple[bytes, bool]:
    try:
        async with asyncio.timeout(STALLED_AFTER):
            message = await request.receive()
    except TimeoutError as error:
        sentence = f"Nothing arrived for {STALLED_AFTER:.0f} seconds; send the upload again."
        raise UploadStalled(sentence) from error
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return message.get("body", b""), message.get("more_body", False)
