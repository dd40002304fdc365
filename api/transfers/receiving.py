"""Outputs of a job on their way from whoever ran it: one tar that is unpacked while it comes."""

import asyncio
import re

from fastapi import Request
from pydantic import BaseModel

from api.http.bodies import Batches, UploadTooLarge
from api.http.storage import room_or_storage_full
from api.services import TRANSFERS_AT_ONCE, Services
from api.transfers.granted import Transfer, current
from flows.errors import InvalidUpload, Unavailable
from flows.staging.bridge import Bridge
from flows.transfers import arrivals
from flows.transfers.arrivals import Arrival, OffsetWrong, Progress

DIGEST = "Transfer-SHA256"
"""Header with the SHA-256 of the body, in hexadecimal, where who sends it knows that before."""

_SLOTS = asyncio.Semaphore(TRANSFERS_AT_ONCE)
_AROUND = 1 << 30
"""Bytes that a tar may have besides the content of its files: that is looked at exactly while it is read."""

_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/(?:[0-9]{1,18}|\*)")


class Part(BaseModel):
    """A part of the tar, from the end of the part before: its end, and the SHA-256 of its bytes."""

    end: int
    sha256: str


class Received(BaseModel):
    """How far a tar has come. It goes on at ``offset``; when it is ``complete``, the outputs are safe.

    ``left_away`` are links that lead out of the directory, and named pipes.
    """

    complete: bool
    offset: int
    parts: list[Part]
    left_away: int


async def progress_of(transfer: Transfer, services: Services) -> Received:
    """Return how far the outputs have come."""
    return _said(await services.on_disk(arrivals.progress, transfer.offer, transfer.grant.turn))


async def receive(transfer: Transfer, request: Request, services: Services) -> Received:
    """Take the outputs, and return once nothing can lose them.

    Raises InvalidUpload, UploadTooLarge, UploadStalled, StorageFull, OffsetWrong, Unavailable, Starlette's
    ClientDisconnect, and what ``current`` raises, where the job has ended meanwhile.
    """
    if _announced(request) > transfer.config.max_bytes + _AROUND:
        raise UploadTooLarge(transfer.config.max_bytes)
    if _SLOTS.locked():
        raise Unavailable("Too many jobs send their outputs now; try again in a few seconds.")
    async with _SLOTS:
        return await _receive(transfer, request, services)


async def _receive(transfer: Transfer, request: Request, services: Services) -> Received:
    with room_or_storage_full():
        arrival = await services.on_disk(_begin, transfer, _start(request), services)
        bridge, body = Bridge(services.transfer_threads, "The sender"), Batches(request)
        digest = await bridge.run(
            lambda: arrival.receive(lambda: bridge.wait(body.next()), announced=_announced(request))
        )
        if request.headers.get(DIGEST, digest).lower() != digest:
            await services.on_disk(arrival.discard)
            raise InvalidUpload("What has come is not what was sent: its SHA-256 is another; send it again.")
        await services.durable.sync()
        progress = await services.on_disk(arrival.finish)
        await current(transfer.grant, services)  # that may have taken long
        await services.on_disk(arrival.land)
    return _said(progress)


def _begin(transfer: Transfer, start: int, services: Services) -> Arrival:
    limits, min_free = transfer.config.limits, services.config.uploads.min_free_bytes
    return Arrival(transfer.offer, transfer.grant.turn, limits, min_free, start)


def _announced(request: Request) -> int:
    length = request.headers.get("Content-Length", "")
    return int(length) if length.isdecimal() else 0


def _start(request: Request) -> int:
    said = request.headers.get("Content-Range")
    if said is None:
        return 0
    if (match := _CONTENT_RANGE.fullmatch(said)) is None:
        raise OffsetWrong("The Content-Range cannot be understood; write bytes FIRST-LAST/SIZE.")
    return int(match[1])


def _said(progress: Progress) -> Received:
    return Received(
        complete=progress.complete,
        offset=progress.offset,
        parts=[Part(end=end, sha256=digest) for end, digest in progress.parts],
        left_away=progress.left_away,
    )
