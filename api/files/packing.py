"""Archives in the making: what is put into them comes out of a sink at once, a piece at a time."""

import bz2
import lzma
import os
import tarfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from enum import StrEnum
from typing import Protocol

from api.files.paths import shown

# A visitor waits: levels that keep up with a network, and of xz one that takes 10 MB instead of 100.
_ZLIB_LEVEL = 1
_XZ_PRESET = 1
_GZIP = 31  # zlib's number for a gzip header
_FIRST_DAY = 315619200  # 1980-01-02 and 2107-12-30: what zip can say, wherever we are
_LAST_DAY = 4354732800


class ArchiveFormat(StrEnum):
    """Suffixes of the archives that can be asked for."""

    ZIP = ".zip"
    TAR = ".tar"
    TAR_GZ = ".tar.gz"
    TAR_BZ2 = ".tar.bz2"
    TAR_XZ = ".tar.xz"

    @property
    def media_type(self) -> str:
        """What an answer with such an archive is."""
        return _MEDIA_TYPES[self]


_MEDIA_TYPES = {
    ArchiveFormat.ZIP: "application/zip",
    ArchiveFormat.TAR: "application/x-tar",
    ArchiveFormat.TAR_GZ: "application/gzip",
    ArchiveFormat.TAR_BZ2: "application/x-bzip2",
    ArchiveFormat.TAR_XZ: "application/x-xz",
}


class Writable(Protocol):
    """Where content goes."""

    def write(self, data: bytes, /) -> object: ...


class Packer(Protocol):
    """Makes an archive. Names are relative, with slashes."""

    def add_directory(self, name: str) -> None: ...

    def file(self, name: str, status: os.stat_result, *, is_dense: bool) -> AbstractContextManager[Writable]:
        """Begin a file; exactly as many bytes as ``status`` tells are to be written into it.

        ``is_dense``: compressing it would take its time for nothing.
        """

    def close(self) -> None:
        """Write what comes after the last file."""


class Sink:
    """Keeps what is written until it is taken."""

    def __init__(self) -> None:
        self.size = 0
        self._parts: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._parts.append(bytes(data))
        self.size += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing. zipfile asks for it, and its types for the next one."""

    def close(self) -> None: ...

    def take(self) -> bytes:
        content = b"".join(self._parts)
        self._parts.clear()
        self.size = 0
        return content


def is_dense(sample: bytes) -> bool:
    """Whether compressing makes next to nothing smaller of this."""
    return len(zlib.compress(sample, _ZLIB_LEVEL)) > 0.95 * len(sample)


def packer(archive_format: ArchiveFormat, sink: Sink) -> Packer:
    """Return one that makes an archive of this format."""
    if archive_format is ArchiveFormat.ZIP:
        return _ZipPacker(sink)
    return _TarPacker(sink, _COMPRESSORS[archive_format]())


def _mode(status: os.stat_result) -> int:
    # Whether it can be run is all that matters to whoever unpacks it; other bits might lock them out.
    return 0o755 if status.st_mode & 0o100 else 0o644


class _ZipPacker:
    def __init__(self, sink: Sink) -> None:
        # Without seeking, sizes come after the content, and beyond 4 GiB as ZIP64.
        self._archive = zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED)

    def add_directory(self, name: str) -> None:
        info = self._info(f"{name}/", time.time(), 0o40755)
        info.external_attr |= 0x10  # MS-DOS directory
        info.compress_type = zipfile.ZIP_STORED
        info.CRC = 0  # mkdir() of Python 3.11 expects it to be there
        self._archive.mkdir(info)

    def file(self, name: str, status: os.stat_result, *, is_dense: bool) -> AbstractContextManager[Writable]:
        info = self._info(name, status.st_mtime, 0o100000 | _mode(status))
        info.file_size = status.st_size
        # ZipFile gives its own level only to what it makes a ZipInfo for itself.
        level = 0 if is_dense else _ZLIB_LEVEL
        info._compresslevel = level  # type: ignore[attr-defined] # compress_level from 3.13 on
        target: AbstractContextManager[Writable] = self._archive.open(info, "w")
        return target

    def close(self) -> None:
        self._archive.close()

    def _info(self, name: str, mtime: float, mode: int) -> zipfile.ZipInfo:
        moment = time.localtime(min(max(mtime, _FIRST_DAY), _LAST_DAY))[:6]
        info = zipfile.ZipInfo(shown(name), moment)
        info.compress_type = zipfile.ZIP_DEFLATED
        info.external_attr = mode << 16
        return info


class _Compressor(Protocol):
    def compress(self, data: bytes, /) -> bytes: ...

    def flush(self) -> bytes: ...


class _Uncompressed:
    def compress(self, data: bytes, /) -> bytes:
        return data

    def flush(self) -> bytes:
        return b""


_COMPRESSORS: dict[ArchiveFormat, Callable[[], _Compressor]] = {
    ArchiveFormat.TAR: _Uncompressed,
    ArchiveFormat.TAR_GZ: lambda: zlib.compressobj(_ZLIB_LEVEL, zlib.DEFLATED, _GZIP),
    ArchiveFormat.TAR_BZ2: bz2.BZ2Compressor,
    ArchiveFormat.TAR_XZ: lambda: lzma.LZMACompressor(preset=_XZ_PRESET),
}


class _TarPacker:
    # tarfile makes the headers; the rest of it wants to be given files, and not to be stopped in between.
    def __init__(self, sink: Sink, compressor: _Compressor) -> None:
        self._sink = sink
        self._compressor = compressor
        self._size = 0

    def write(self, data: bytes, /) -> None:
        self._sink.write(self._compressor.compress(data))
        self._size += len(data)

    def add_directory(self, name: str) -> None:
        info = tarfile.TarInfo(name)
        info.type, info.mode, info.mtime = tarfile.DIRTYPE, 0o755, int(time.time())
        self._add_header(info)

    @contextmanager
    def file(self, name: str, status: os.stat_result, *, is_dense: bool) -> Iterator[Writable]:
        del is_dense  # the whole archive is compressed at once
        info = tarfile.TarInfo(name)
        info.size, info.mode, info.mtime = status.st_size, _mode(status), int(status.st_mtime)
        self._add_header(info)
        yield self
        self._fill(tarfile.BLOCKSIZE)

    def close(self) -> None:
        self.write(bytes(2 * tarfile.BLOCKSIZE))
        self._fill(tarfile.RECORDSIZE)
        self._sink.write(self._compressor.flush())

    def _add_header(self, info: tarfile.TarInfo) -> None:
        # GNU's format has names of any bytes and length, and sizes of any number.
        self.write(info.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape"))

    def _fill(self, unit: int) -> None:
        self.write(bytes(-self._size % unit))
