"""Zip archives, each member checked against what the archive says of it in its other places."""

import lzma
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import BinaryIO

from flows.archives import compression, zip_directory
from flows.archives.compression import Decompressor
from flows.archives.contents import Contents, Member, no_plain_file, shown
from flows.archives.zip_directory import UNKNOWN_32, Entry, damaged, read_at
from flows.errors import InvalidUpload

_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"
_HAS_DESCRIPTOR = 0x8
_PATCHED = 0x20
_DESCRIPTORS = {12: "<3L", 16: "<4x3L", 20: "<L2Q", 24: "<4xL2Q"}
_DESCRIPTOR_SIGNATURE = b"PK\x07\x08"
_STORED, _LZMA = 0, 14
_MAX_DICTIONARY = 128 << 20

_METHODS: dict[int, Callable[[], Decompressor]] = {
    8: compression.deflate_decompressor,
    9: compression.deflate64_decompressor,
    12: compression.bzip2_decompressor,
    93: compression.zstd_decompressor,
    95: compression.xz_decompressor,
}


def members(file: BinaryIO, contents: Contents) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each member with its content, which may be left unread; raise InvalidUpload.

    All that can be known without unpacking is checked before the first.
    """
    descriptor = file.fileno()
    directory = zip_directory.find(descriptor, contents.archive_size)
    found: list[tuple[Entry, Member]] = []
    for entry in zip_directory.read(descriptor, directory):
        _check_kind(entry)
        is_dir = entry.name.endswith("/")
        executable = bool(entry.mode & 0o111)
        member = contents.add(entry.name, is_dir=is_dir, size=entry.size, executable=executable, once=True)
        found.append((entry, member))
    found.sort(key=lambda pair: pair[0].offset)
    starts = _starts(descriptor, [entry for entry, _ in found], directory.offset)
    for (entry, member), start in zip(found, starts, strict=True):
        yield member, _content(descriptor, entry, start)


def _check_kind(entry: Entry) -> None:
    kind = stat.S_IFMT(entry.mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise no_plain_file(entry.name)
    if kind == stat.S_IFDIR and not entry.name.endswith("/"):
        raise damaged(f"{shown(entry.name)} is a file and a directory")
    if entry.method not in {_STORED, _LZMA, *_METHODS} or entry.flags & _PATCHED:
        raise InvalidUpload(
            f"The archive has {shown(entry.name)} compressed in a way that is not known here; use deflate."
        )
    if entry.method == _STORED and entry.size != entry.packed_size:
        raise damaged(f"{shown(entry.name)} has two sizes")


def _starts(descriptor: int, entries: list[Entry], end: int) -> list[int]:
    """Return where the content of each member begins; they have to fill the archive up to ``end``."""
    borders = [*(entry.offset for entry in entries), end]
    if borders[0] != 0:
        raise damaged("something is before its first member")
    return [
        _start(descriptor, entry, after) for entry, (_, after) in zip(entries, pairwise(borders), strict=True)
    ]


def _start(descriptor: int, entry: Entry, end: int) -> int:
    head = read_at(descriptor, _LOCAL.size, entry.offset)
    signature, _, flags, method, _, _, crc, packed_size, size, name_size, extra_size = _LOCAL.unpack(head)
    rest = read_at(descriptor, name_size + extra_size, entry.offset + _LOCAL.size)
    if (signature, rest[:name_size], method) != (_LOCAL_SIGNATURE, entry.raw_name, entry.method):
        raise _contradiction(entry)
    if (flags ^ entry.flags) & (zip_directory.ENCRYPTED | _HAS_DESCRIPTOR | _PATCHED):
        raise _contradiction(entry)
    extra = rest[name_size:]
    if zip_directory.unicode_path(entry.raw_name, extra) not in {None, entry.name}:
        raise _contradiction(entry)
    size, packed_size = zip_directory.zip64(extra, size, packed_size)
    start: int = entry.offset + _LOCAL.size + name_size + extra_size
    gap = end - start - entry.packed_size
    if gap < 0:
        raise InvalidUpload(f"The archive has {shown(entry.name)} overlapping the next; make it again.")
    if gap:
        _check_descriptor(descriptor, entry, end - gap, gap)
    for told, real in ((crc, entry.crc), (packed_size, entry.packed_size), (size, entry.size)):
        # A descriptor says what was not known yet when the header was written.
        if told != real and not (gap and told in {0, UNKNOWN_32}):
            raise _contradiction(entry)
    return start


def _check_descriptor(descriptor: int, entry: Entry, offset: int, size: int) -> None:
    form = _DESCRIPTORS.get(size)
    if form is None or not entry.flags & _HAS_DESCRIPTOR:
        raise damaged(f"something is after {shown(entry.name)} that belongs to no member")
    data = read_at(descriptor, size, offset)
    if "x" in form and not data.startswith(_DESCRIPTOR_SIGNATURE):
        raise _contradiction(entry)
    if struct.unpack(form, data) != (entry.crc, entry.packed_size, entry.size):
        raise _contradiction(entry)


def _contradiction(entry: Entry) -> InvalidUpload:
    return damaged(f"its directory contradicts what is at {shown(entry.name)}")


def _content(descriptor: int, entry: Entry, start: int) -> Iterator[bytes]:
    packed = _Packed(descriptor, start)
    size = crc = 0
    for block in _unpacked(entry, compression.blocks(packed.read, entry.packed_size)):
        size += len(block)
        if size > entry.size:
            break
        crc = zlib.crc32(block, crc)
        yield block
    if size != entry.size or crc != entry.crc:
        raise damaged(f"{shown(entry.name)} is not what was put in")


class _Packed:
    def __init__(self, descriptor: int, at: int) -> None:
        self._descriptor = descriptor
        self._at = at

    def read(self, size: int) -> bytes:
        data = read_at(self._descriptor, size, self._at)
        self._at += size
        return data


def _unpacked(entry: Entry, packed: Iterator[bytes]) -> Iterator[bytes]:
    if entry.method == _STORED:
        yield from packed
        return
    data = next(packed, b"")
    if entry.method == _LZMA:
        decompressor, data = _lzma(data)
    else:
        decompressor = _METHODS[entry.method]()
    while not decompressor.eof:
        yield compression.decompress(decompressor, data)
        if decompressor.eof or not decompressor.needs_input:
            data = b""
        else:
            data = next(packed, b"")
            if not data:
                break
    if decompressor.unused_data or next(packed, b"") or not (decompressor.eof or entry.method == _LZMA):
        raise damaged(f"{shown(entry.name)} is not what was put in")


def _lzma(data: bytes) -> tuple[Decompressor, bytes]:
    """Return the decompressor that the first bytes ask for, and the rest of them."""
    # Version, size of the properties (5), the properties.
    if len(data) < 9 or data[2:4] != b"\5\0" or data[4] >= 9 * 5 * 5:
        raise damaged("an LZMA header is wrong")
    dictionary = int.from_bytes(data[5:9], "little")
    if dictionary > _MAX_DICTIONARY:
        raise InvalidUpload("The archive needs too much memory to be unpacked; use deflate.")
    rest, lc = divmod(data[4], 9)
    pb, lp = divmod(rest, 5)
    chain = [{"id": lzma.FILTER_LZMA1, "lc": lc, "lp": lp, "pb": pb, "dict_size": max(4096, dictionary)}]
    return lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=chain), data[9:]
