"""Where a zip archive says what is in it: the central directory, with ZIP64, and what leads to it.

Programs that read a zip in different ways (from its end, from its beginning) must find the same in it. So
nothing may be in it but members, directory and comment, one directly after the other.
"""

import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from flows.errors import InvalidUpload

BEGINNINGS = (b"PK\x03\x04", b"PK\x05\x06")

_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_PATH = struct.Struct("<BL")
_ENTRY_SIGNATURE = b"PK\x01\x02"
_MAX_COMMENT = 0xFFFF
_UNKNOWN_16, UNKNOWN_32 = 0xFFFF, 0xFFFFFFFF
# Two disks, entries here and in all, size, offset: what an end has where its ZIP64 end knows better.
_UNKNOWN = (*[_UNKNOWN_16] * 4, *[UNKNOWN_32] * 2)
# To which bsdtar fills up with zeros what it writes into a pipe, be it a tar or a zip.
_RECORD = 10240
_ZIP64, _UNICODE_PATH = 1, 0x7075
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


def _several_parts() -> InvalidUpload:
    return damaged("it is one of several parts")


def read_at(descriptor: int, size: int, offset: int) -> bytes:
    """Return exactly so many bytes."""
    data = os.pread(descriptor, size, offset)
    if len(data) < size:
        raise damaged("it ends too early")
    return data


def find(descriptor: int, file_size: int) -> Directory:
    """Return where the directory is; raise InvalidUpload where that is not beyond doubt."""
    start = max(0, file_size - _END.size - _MAX_COMMENT - _RECORD)
    tail = os.pread(descriptor, file_size - start, start)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or len(tail) - at < _END.size:
        raise damaged("its end is missing")
    _, *says, comment = _END.unpack_from(tail, at)
    behind = at + _END.size + comment
    if behind > len(tail) or not _is_padding(tail[behind:], file_size):
        raise damaged("something follows its end")
    at += start
    if at >= _LOCATOR.size:
        locator = _LOCATOR.unpack(read_at(descriptor, _LOCATOR.size, at - _LOCATOR.size))
        if locator[0] == b"PK\x06\x07":
            _, disk, offset, disks = locator
            if disk or disks > 1:
                raise _several_parts()
            at, says = _find64(descriptor, at - _LOCATOR.size, offset, says)
    disk, first_disk, here, entries, size, offset = says
    if disk or first_disk or here != entries:
        raise _several_parts()
    if offset + size != at:
        raise damaged("its directory is not where it says")
    return Directory(offset, size, entries)


def _is_padding(data: bytes, file_size: int) -> bool:
    return not data or (file_size % _RECORD == 0 and len(data) < _RECORD and data.count(0) == len(data))


def _find64(descriptor: int, end: int, offset: int, short: list[int]) -> tuple[int, list[int]]:
    if not 0 <= end - offset - _END64.size <= _MAX_COMMENT:
        raise damaged("its ZIP64 end is not where it says")
    record = _END64.unpack(read_at(descriptor, _END64.size, offset))
    signature, record_size, _, _, *says = record
    if signature != b"PK\x06\x06" or record_size != end - offset - 12:
        raise damaged("its ZIP64 end is wrong")
    for told, real, unknown in zip(short, says, _UNKNOWN, strict=True):
        if told not in {real, unknown}:
            raise damaged("its two ends say different things")
    return offset, says


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
    size, packed_size, offset = zip64(extra, size, packed_size, offset, disk=disk)
    return Entry(
        raw_name=raw_name,
        name=_name(raw_name, bool(flags & _UTF8), unicode_path(raw_name, extra)),
        flags=flags,
        method=method,
        crc=crc,
        packed_size=packed_size,
        size=size,
        mode=attributes >> 16,
        offset=offset,
    )


def zip64(extra: bytes, *values: int, disk: int = 0) -> list[int]:
    """Return the values, those that do not fit from the extra field; raise InvalidUpload for a later disk."""
    wide = _field(extra, _ZIP64) or b""
    result = []
    for value in values:
        if value == UNKNOWN_32:
            value, wide = _taken(wide, 8)
        result.append(value)
    if disk == _UNKNOWN_16:
        disk, wide = _taken(wide, 4)
    if disk:
        raise _several_parts()
    return result


def _taken(wide: bytes, size: int) -> tuple[int, bytes]:
    if len(wide) < size:
        raise damaged("a ZIP64 field is missing")
    return int.from_bytes(wide[:size], "little"), wide[size:]


def _field(extra: bytes, wanted: int) -> bytes | None:
    found = None
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<2H", extra, at)
        if kind == wanted:
            if found is not None:
                raise damaged("an extra field is there twice")
            found = extra[at + 4 : at + 4 + size]
        at += 4 + size
    return found


def unicode_path(raw_name: bytes, extra: bytes) -> str | None:
    """Return the name that an extra field has beside the raw one, if it was made for that one."""
    field = _field(extra, _UNICODE_PATH) or b""
    if len(field) < _PATH.size:
        return None
    version, crc = _PATH.unpack_from(field)
    if version != 1 or crc != zlib.crc32(raw_name):
        return None
    return _decoded(field[_PATH.size :], is_utf8=True)


def _name(raw_name: bytes, is_utf8: bool, path: str | None) -> str:
    name = _decoded(raw_name, is_utf8=is_utf8)
    if path is None:
        return name
    if (is_utf8 and path != name) or path.endswith("/") != name.endswith("/"):
        raise damaged("two names for one member")
    return path


def _decoded(name: bytes, *, is_utf8: bool) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        if is_utf8:
            raise damaged("a name is not UTF-8") from error
        return name.decode("cp437")  # what zip was made for
