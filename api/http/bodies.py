"""The body of a request on its way from the socket: in batches, bounded in size and in silence."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic

from fastapi import Request
from starlette.requests import ClientDisconnect

from flows.errors import InvalidUpload, VisitorError

# Bytes handed to a thread at once: enough for the hand-over to cost nothing, too few to be felt in memory.
BATCH = 1 << 20
STALLED_AFTER = 60.0  # seconds without a byte
SLOWEST = 1 << 10  # bytes a second, on average, of a body that keeps something busy while it comes


class UploadTooLarge(InvalidUpload):
    """More bytes than the operator allows."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"The upload is too large: at most {limit} bytes are allowed.")


class UploadStalled(VisitorError):
    """The visitor stopped sending."""


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


class Batches:
    """A body for who asks for it batch by batch; bounded in slowness, too, since somebody waits for it."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._started = monotonic()
        self._size = 0
        self._more = True

    async def next(self) -> bytes:
        """Return the next batch, which is empty at the end. Raises as ``receive_body`` does."""
        parts: list[bytes] = []
        size = 0
        while self._more and size < BATCH:
            part, self._more = await _next_part(self._request)
            parts.append(part)
            size += len(part)
            self._check_pace(len(part))
        return b"".join(parts)

    def _check_pace(self, size: int) -> None:
        self._size += size
        if monotonic() - self._started > STALLED_AFTER + self._size / SLOWEST:
            raise UploadStalled(f"Less than {SLOWEST} bytes arrive a second; send the upload again.")
