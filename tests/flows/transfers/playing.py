"""Whoever runs a job elsewhere, played without a network between."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from flows.destinations.filesystem import Filesystem, guard
from flows.disk.trees import remove_tree
from flows.staging.listing import Listing
from flows.transfers import outputs
from flows.transfers.arrivals import Arrival
from flows.transfers.offers import Offer
from flows.transfers.sent_tar import Limits
from flows.transfers.tar_stream import TarStream

LIMITS = Limits(max_files=1000, max_bytes=10_000_000)


class Pieces:
    """What ``take`` is, of blocks that there are."""

    def __init__(self, content: Iterator[bytes]) -> None:
        self._content = content

    def __call__(self) -> bytes:
        return next(self._content, b"")


def arrive(offer: Offer, content: Iterator[bytes], *, limits: Limits = LIMITS, start: int = 0) -> Arrival:
    """Let a tar land as the service does."""
    arrival = Arrival(offer, offer.turn, limits, 0, start)
    arrival.receive(Pieces(content))
    arrival.finish()
    arrival.land()
    return arrival


class Played:
    """A filesystem with its far side in a directory here: fetches after stage in, sends before stage out."""

    files_are_here: ClassVar[bool] = False

    def __init__(self, filesystem: Filesystem, place: Path) -> None:
        self._filesystem = filesystem
        self._place = place
        self._inputs: dict[str, Listing] = {}

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        directory = self._place / await self._filesystem.stage_in(job_dir, token)
        if token not in self._inputs:
            _, listing = Offer(job_dir, token).read()
            blocks = TarStream(job_dir, listing).blocks()
            self._inputs[token] = outputs.unpack(directory, Pieces(blocks))
        return directory

    async def stage_out(self, job_dir: Path, token: str) -> None:
        directory = self._place / token
        unsent = outputs.unsent(outputs.scan(directory), self._inputs[token])
        arrive(Offer(job_dir, token), TarStream(directory, unsent).blocks())
        await self._filesystem.stage_out(job_dir, token)

    async def remove(self, job_dir: Path, token: str) -> None:
        await self._filesystem.remove(job_dir, token)
        for path in (self._place / token, guard(self._place / token, token)):
            if os.path.lexists(path):
                remove_tree(path)

    async def check(self) -> None:
        await self._filesystem.check()

    async def close(self) -> None:
        await self._filesystem.close()
