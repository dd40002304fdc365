"""Compressed bytes to plain ones, in bounded memory and with every byte accounted for."""

import bz2
import lzma
import os
import sys
import time
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from flows.archives.deflate64 import Inflate64
from flows.errors import InvalidUpload

if sys.version_info >= (3, 14):
    from compression import zstd as zstd
else:
    from backports import zstd as zstd

BLOCK = 1 << 18
"""Bytes that are read, and that come out of a decompressor, at once."""

# What xz -9 and zstd --ultra -22 need.
_MAX_MEMORY = 128 << 20
_ZSTD_OPTIONS: dict[int, int] = {zstd.DecompressionParameter.window_log_max: 27}

# Some tools make many streams one after the other; ever so small ones would cost more time than they hold.
_MIN_STREAM = 16 << 10
_MANY_STREAMS = 1000

_ERRORS = (zlib.error, lzma.LZMAError, zstd.ZstdError, OSError, EOFError, ValueError)


class OutOfTime(Exception):
    """The deadline passed while reading; nothing is said about the archive."""


class Decompressor(Protocol):
    """What the decompressors of the standard library have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int, /) -> bytes: ...


class Inflate:
    """zlib's decompressor with the interface of the others."""

    def __init__(self, wbits: int) -> None:
        self._zlib = zlib.decompressobj(wbits)
        self.needs_input = True

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        plain = self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)
        # A full block can leave more inside, with nothing left of the input.
        self.needs_input = not (self._zlib.unconsumed_tail or len(plain) == max_length)
        return plain


def gzip_decompressor() -> Decompressor:
    """Return one for a member of a gzip file."""
    return Inflate(31)


def deflate_decompressor() -> Decompressor:
    """Return one for data without a header."""
    return Inflate(-15)


def deflate64_decompressor() -> Decompressor:
    """Return one for what Windows makes of files of more than 2 GB."""
    return Inflate64()


def bzip2_decompressor() -> Decompressor:
    """Return one for a stream of bzip2."""
    return bz2.BZ2Decompressor()


def xz_decompressor() -> Decompressor:
    """Return one for a stream of xz."""
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MAX_MEMORY)


def zstd_decompressor() -> Decompressor:
    """Return one for a frame of Zstandard."""
    return zstd.ZstdDecompressor(options=_ZSTD_OPTIONS)


def decompress(decompressor: Decompressor, data: bytes) -> bytes:
    """Return the next bytes, at most BLOCK; raise InvalidUpload for what is damaged."""
    try:
        return decompressor.decompress(data, BLOCK)
    except _ERRORS as error:
        raise InvalidUpload(f"The archive is damaged ({error}); make it again.") from error


class Source(Protocol):
    """The bytes of a tar from its beginning to its end."""

    def read(self, size: int) -> bytes:
        """Return that many bytes, or fewer at the end."""

    def skip(self, size: int) -> None:
        """Leave that many bytes away; raise InvalidUpload where there are not so many."""


class Plain:
    """A file as it is."""

    def __init__(self, file: BinaryIO) -> None:
        self.read = file.read
        self._file = file

    def skip(self, size: int) -> None:
        if size:
            # Files can be left beyond their end, unnoticed: so the last byte is read.
            self._file.seek(size - 1, os.SEEK_CUR)
            if not self.read(1):
                raise truncated()


class Blockwise(ABC):
    """A source whose bytes come in blocks: ``next_block`` returns the next one, which is empty at the end."""

    def __init__(self) -> None:
        self._block = memoryview(b"")

    @abstractmethod
    def next_block(self) -> bytes: ...

    def read(self, size: int) -> bytes:
        parts = []
        while size and (self._block or self._fill()):
            parts.append(self._block[:size])
            size -= len(parts[-1])
            self._block = self._block[len(parts[-1]) :]
        return b"".join(parts)

    def skip(self, size: int) -> None:
        while size:
            if not self._block and not self._fill():
                raise truncated()
            taken = min(size, len(self._block))
            self._block = self._block[taken:]
            size -= taken

    def _fill(self) -> bool:
        self._block = memoryview(self.next_block())
        return bool(self._block)


class Decompressed(Blockwise):
    """What the streams of a compressed file hold, one after the other.

    Raises InvalidUpload, and OutOfTime after the ``deadline``, which is a time of the monotonic clock.
    """

    def __init__(self, file: BinaryIO, new: Callable[[], Decompressor], deadline: float | None) -> None:
        super().__init__()
        self._file = file
        self._new = new
        self._deadline = deadline
        self._decompressor = new()
        self._input = b""
        self._size = 0
        self._streams = 1

    def next_block(self) -> bytes:
        block = b""
        while not block:
            if self._deadline is not None and time.monotonic() > self._deadline:
                raise OutOfTime
            if self._decompressor.eof and not self._next_stream():
                return b""
            data = self._next_input() if self._decompressor.needs_input else b""
            block = decompress(self._decompressor, data)
        self._size += len(block)
        return block

    def _next_input(self) -> bytes:
        data, self._input = self._input or self._file.read(BLOCK), b""
        if not data:
            raise truncated()
        return data

    def _next_stream(self) -> bool:
        data = self._decompressor.unused_data
        # Padding; whatever else is there has to be a stream of the same format.
        while not (data := data.lstrip(b"\0")):
            data = self._file.read(BLOCK)
            if not data:
                return False
        self._streams += 1
        if self._streams > _MANY_STREAMS and self._size < self._streams * _MIN_STREAM:
            raise InvalidUpload("The archive is compressed in too many pieces; compress it as a whole.")
        self._decompressor, self._input = self._new(), data
        return True


def truncated() -> InvalidUpload:
    """Return the error for an archive that ends too early."""
    return InvalidUpload("The archive ends too early; send the whole of it.")


def blocks(read: Callable[[int], bytes], size: int) -> Iterator[bytes]:
    """Read exactly so many bytes, in blocks."""
    while size:
        block = read(min(size, BLOCK))
        if not block:
            raise truncated()
        size -= len(block)
        yield block
