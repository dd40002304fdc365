"""A tar that is made while it is sent: the same bytes each time, so that it can begin anywhere in it."""

import hashlib
import tarfile
from collections.abc import Iterator
from pathlib import Path

from flows.archives.contents import shown
from flows.errors import StagingFailed
from flows.staging import listing as listings
from flows.staging.bridge import BLOCK
from flows.staging.listing import FILE, Entry, Listing
from flows.staging.sending import open_file, tar_member

_RECORD = tarfile.BLOCKSIZE
_SHORT = 90
"""Bytes of a name up to which it is certain to be in a header of one record."""


class TarStream:
    """The tar of what is listed in a directory, as long as its files are as they were."""

    def __init__(self, directory: Path, listing: Listing) -> None:
        self._directory = directory
        self._listing = listing
        content = sum(_size_of_header(name, entry) + _padded(entry.size) for name, entry in listing.items())
        self._end = -(content + 2 * _RECORD) % tarfile.RECORDSIZE + 2 * _RECORD
        self.size = content + self._end

    @property
    def tag(self) -> str:
        """What tells this tar from others."""
        return hashlib.sha256(listings.write(self._listing)).hexdigest()[:32]

    def blocks(self, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """Yield the bytes from ``start`` on. Raises StagingFailed when a file is not as it was any more."""
        left = (self.size if end is None else min(end, self.size)) - start
        if left <= 0:
            return
        parts: list[bytes] = []
        size = 0
        for piece in self._pieces(start):
            parts.append(piece)
            size += len(piece)
            if size >= min(BLOCK, left):
                block = b"".join(parts)[:left] if size > left or len(parts) > 1 else piece
                yield block
                left -= len(block)
                parts, size = [], 0
                if not left:
                    return

    def _pieces(self, start: int) -> Iterator[bytes]:
        at = 0
        for name, entry in self._listing.items():
            header_size = _size_of_header(name, entry)
            content = at + header_size
            after = content + _padded(entry.size)
            if start < content:
                yield _header(name, entry)[max(start - at, 0) :]
            if start < after and entry.kind == FILE:
                skipped = max(start - content, 0)
                yield from self._content(name, entry.size, skipped)
                yield bytes(after - max(content + entry.size, start))
            at = after
        yield bytes(self._end - max(start - at, 0))

    def _content(self, name: str, size: int, skipped: int) -> Iterator[bytes]:
        left = size - skipped
        if left <= 0:
            return
        try:
            with open_file(self._directory, name) as file:
                file.seek(skipped)
                while left and (block := file.read(min(left, BLOCK))):
                    left -= len(block)
                    yield block
        except FileNotFoundError:
            pass
        if left:
            raise StagingFailed(f"{shown(name)} has changed while it was sent.")


def _header(name: str, entry: Entry) -> bytes:
    return tar_member(name, entry).tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _size_of_header(name: str, entry: Entry) -> int:
    # Most are short: thousands of headers need not be made to know how long they are.
    if 4 * (len(name) + 3) < _SHORT and 4 * len(entry.target) < _SHORT:
        return _RECORD
    return len(_header(name, entry))


def _padded(size: int) -> int:
    return size + -size % _RECORD
