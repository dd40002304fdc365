"""Where a zip archive says what is in it: the central directory, with ZIP64, and what leads to it.

Programs that read a zip in different ways (from its end, from its beginning) must find the same in it. So
nothing may be in it but members, directory and comment, one directly after the other.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from flows.errors import InvalidUpload

BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_MAX_COMMENT = 0xFFFF
_UNKNOWN_16, UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF
_ZIP64 = 1
_UTF8 = 0x800
ENCRYPTED = 0x1 | 0x40 | 0x2000


@dataclass(frozen=True, slots=True)
class Entry:
    """One member, as the central directory has it. ``mode`` is Unix's, 0 where it is not known."""

    raw_name: bytes
    name: str
    flags: int
    method: int
    crc: int
    packed_size: int
    size: int
    mode: int
    offset: int


@dataclass(frozen=True, slots=True)
class Directory:
    """Where the central directory is."""

    offset: int
    size: int
    entries: int


def damaged(what: str) -> InvalidUpload:
    """Return the error for an archive that is not put together as it has to be."""
    return InvalidUpload(f"The zip archive is damaged ({what}); make it again.")


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return exactly so many bytes."""
    data = os.pread(descriptor, size, offset)
    if len(data) < size:
        raise damaged("it ends too early")
    return data


def find(descriptor: int, file_size: int) -> Directory:
    """Return where the directory is; raise InvalidUpload where that is not beyond doubt."""
    start = max(0, file_size - _END.size - _MAX_COMMENT)
    tail = os.pread(descriptor, file_size - start, start)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise damaged("its end is missing")
    _, disk, first_disk, here, entries, size, offset, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise damaged("something follows its end")
    at += start
    directory = Directory(offset, size, entries)
    if at >= _LOCATOR.size:
        locator = _LOCATOR.unpack(read_at(descriptor, _LOCATOR.size, at - _LOCATOR.size))
        if locator[0] == b"PK\x06\x07":
            at, directory = _find64(descriptor, at - _LOCATOR.size, locator[2], directory)
            here = entries = 0  # counted there
    if disk or first_disk or here != entries:
        raise damaged("it is one of several parts")
    if directory.offset + directory.size != at:
        raise damaged("its directory is not where it says")
    return directory


def _find64(descriptor: int, end: int, offset: int, short: Directory) -> tuple[int, Directory]:
    if not 0 <= end - offset - _END64.size <= _MAX_COMMENT:
        raise damaged("its ZIP64 end is not where it says")
    record = _END64.unpack(read_at(descriptor, _END64.size, offset))
    signature, record_size, _, _, disk, first_disk, here, entries, size, directory_offset = record
    if (
        signature != b"PK\x06\x06"
        or record_size != end - offset - 12
        or disk
        or first_disk
        or here != entries
    ):
        raise damaged("its ZIP64 end is wrong")
    if (
        short.entries not in {entries, _UNKNOWN_16}
        or short.size not in {size, UNKNOWN_32}
        or short.offset not in {directory_offset, UNKNOWN_32}
    ):
        raise damaged("its two ends say different things")
    return offset, Directory(directory_offset, size, entries)


def read(descriptor: int, directory: Directory) -> Iterator[Entry]:
    """Yield the entries; a caller who has had enough may stop."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(directory.offset)
        left = directory.size
        for _ in range(directory.entries):
            head = file.read(_ENTRY.size)
            if len(head) < _ENTRY.size or head[:4] != _ENTRY_SIGNATURE:
                raise damaged("its directory is wrong")
            fields = _ENTRY.unpack(head)
            name_size, extra_size, comment_size = fields[10:13]
            left -= _ENTRY.size + name_size + extra_size + comment_size
            if left < 0:
                raise damaged("its directory is wrong")
            name = file.read(name_size)
            extra = file.read(extra_size)
            file.seek(comment_size, os.SEEK_CUR)
            yield _entry(fields, name, extra)
    if left:
        raise damaged("its directory is wrong")


def _entry(fields: tuple[int, ...], raw_name: bytes, extra: bytes) -> Entry:
    _, _, _, flags, method, _, _, crc, packed_size, size, *_, disk, _, attributes, offset = fields
    if flags & ENCRYPTED:
        raise InvalidUpload("The archive is encrypted; send it without a password.")
    size, packed_size, offset = zip64(extra, size, packed_size, offset)
    if disk:
        raise damaged("it is one of several parts")
    return Entry(
        raw_name=raw_name,
        name=_decoded(raw_name, is_utf8=bool(flags & _UTF8)),
        flags=flags,
        method=method,
        crc=crc,
        packed_size=packed_size,
        size=size,
        mode=attributes >> 16,
        offset=offset,
    )


def zip64(extra: bytes, *values: int) -> list[int]:
    """Return the values, those that do not fit in 32 bits from the extra field."""
    wide = b""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == _ZIP64:
            if wide:
                raise damaged("two ZIP64 fields")
            wide = extra[at + 4 : at + 4 + size]
        at += 4 + size
    result = []
    for value in values:
        if value == UNKNOWN_32:
            if len(wide) < 8:
                raise damaged("a ZIP64 field is missing")
            value = int.from_bytes(wide[:8], "little")
            wide = wide[8:]
        result.append(value)
    return result


def _decoded(name: bytes, *, is_utf8: bool) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        if is_utf8:
            raise damaged("a name is not UTF-8") from error
        return name.decode("cp437")  # what zip was made for
