"""Tar archives: ustar, GNU's and POSIX's pax, read from front to back as tar does.

Python's tarfile is for archives that are trusted: it reads extended headers of any size into memory, and its
answer to contradictions is not that of other programs.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypedDict

from flows.archives import sparse
from flows.archives.compression import BLOCK, Source, blocks, truncated
from flows.archives.contents import Member, shown
from flows.errors import InvalidUpload

RECORD = 512
# Extended attributes are in there too.
_MAX_EXTENDED_HEADER = 1 << 20
# Bytes of headers that a member may have on average, and what may be around all of them.
_PER_MEMBER = 4096
_PADDING = 16 << 20
_LAST_TIME = 1 << 33  # s since 1970, in the year 2242; file systems know no later ones
# Sizes that do not fit in the header itself.
_OCTAL_LIMIT = 8**11

_FILE_TYPES = frozenset(b"0\x007")
_DIRECTORY = ord("5")
_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL = b"LKxg"
_HARD_LINK = ord("1")
SYMBOLIC_LINK, FIFO = ord("2"), ord("6")
_LINKS_AND_DEVICES = frozenset(b"2346")
_SPARSE = b"GNU.sparse."
_DAMAGED = "The tar archive is damaged ({}); make it again."
_PAX_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ([^=\n]+)=", re.DOTALL)


@dataclass(slots=True)
class _Extension:
    """What extended headers say about the next member, instead of its own header."""

    name: bytes | None = None
    link: bytes | None = None
    links: int = 0
    size: int | None = None
    sparse_size: int | None = None
    pending: bool = False


class _Arguments(TypedDict):
    raw_name: str
    is_dir: bool
    size: int
    executable: bool
    copy_of: str | None
    mtime: int


def begins_like_tar(block: bytes) -> bool:
    """Whether these are the first bytes of a tar archive."""
    return len(block) >= RECORD and (_is_zero(block[:RECORD]) or _has_checksum(block[:RECORD]))


class Contents(Protocol):
    """What looks at each member, and refuses what is not wanted by an exception."""

    @property
    def max_entries(self) -> int: ...

    def add(
        self,
        raw_name: str,
        *,
        is_dir: bool,
        size: int,
        executable: bool = False,
        copy_of: str | None = None,
        mtime: int = 0,
    ) -> Member:
        """Return the next member, which takes the place of an earlier one of its name.

        A member with ``copy_of`` has the content of the file of that name at this point, and none of its own.
        Bytes of names that are no UTF-8 are as ``os.fsdecode`` has them. ``mtime`` is in s, 0 if not known.
        """
        ...

    def pass_by(self, raw_name: str, kind: int, target: str) -> None:
        """Take note of what is neither file nor directory, or refuse it. A link has a ``target``."""
        ...


def members(source: Source, contents: Contents) -> Iterator[tuple[Member, Iterator[bytes]]]:
    """Yield each member with its content, which may be left unread. Raises InvalidUpload, OutOfTime."""
    around = _Around(source, contents.max_entries * _PER_MEMBER + _PADDING)
    extension = _Extension()
    while not _is_zero(header := _header(around)):
        kind = header[156]
        size = _number(header[124:136])
        if kind in {_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL}:
            _extend(extension, kind, _extended_header(around, size))
            continue
        stored = _stored_size(size, extension)
        if kind in _LINKS_AND_DEVICES:
            contents.pass_by(*_no_file(header, kind, stored, extension))
            source.skip(0)  # of each member the last thing that a source hears
            extension = _Extension()
            continue
        member = contents.add(**_member(header, kind, stored, extension))
        if extension.sparse_size is None:
            content = _Content(source, stored)
            yield member, content.read(stored)
        else:
            extents, read = sparse.read_map(lambda: _record(around), stored, member.size)
            content = _Content(source, stored - read)
            yield member, sparse.filled(content.read, extents, member.size)
        content.skip_rest()
        extension = _Extension()
    if extension.pending:
        raise InvalidUpload(_DAMAGED.format("a header without a member"))
    _read_padding(around)


class _Around:
    """Reads what is not content, in bounds: the contents are counted elsewhere."""

    def __init__(self, source: Source, limit: int) -> None:
        self._source = source
        self._left = limit

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._left -= len(data)
        if self._left < 0:
            raise InvalidUpload("The tar archive has too much around its files; make it again.")
        return data


class _Content:
    def __init__(self, source: Source, size: int) -> None:
        self._source = source
        self._left = size
        self._padding = -size % RECORD

    def read(self, size: int) -> Iterator[bytes]:
        for block in blocks(self._source.read, size):
            self._left -= len(block)
            yield block

    def skip_rest(self) -> None:
        self._source.skip(self._left + self._padding)


def _record(source: _Around) -> bytes:
    record = source.read(RECORD)
    if len(record) < RECORD:
        raise truncated()
    return record


def _header(source: _Around) -> bytes:
    header = _record(source)
    if not _is_zero(header) and not _has_checksum(header):
        raise InvalidUpload(_DAMAGED.format("a header is wrong"))
    return header


def _is_zero(block: bytes) -> bool:
    return block.count(0) == len(block)


def _has_checksum(header: bytes) -> bool:
    try:
        expected = int(header[148:156].strip(b" \0"), 8)
    except ValueError:
        return False
    return expected == sum(header) - sum(header[148:156]) + 8 * ord(" ")


def _number(field: bytes) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if digits and not digits.isdigit():
        raise InvalidUpload(_DAMAGED.format("a number is wrong"))
    try:
        return int(digits or b"0", 8)
    except ValueError as error:
        raise InvalidUpload(_DAMAGED.format("a number is wrong")) from error


def _extended_header(source: _Around, size: int) -> bytes:
    if size > _MAX_EXTENDED_HEADER:
        raise InvalidUpload(_DAMAGED.format("a header is too long"))
    whole = size + -size % RECORD
    data = source.read(whole)
    if len(data) < whole:
        raise truncated()
    return data[:size]


def _extend(extension: _Extension, kind: int, data: bytes) -> None:
    if kind == _PAX_GLOBAL:
        _check_global(_pax(data))
        return
    extension.pending = True
    if kind == _LONG_NAME:
        _set_name(extension, data.rstrip(b"\0"))
    elif kind == _LONG_LINK:
        _set_link(extension, data.rstrip(b"\0"))
    elif kind == _PAX:
        records = _pax(data)
        if b"path" in records:
            _set_name(extension, records[b"path"])
        if b"linkpath" in records:
            _set_link(extension, records[b"linkpath"])
        if b"size" in records:
            if extension.size is not None or not records[b"size"].isdigit():
                raise InvalidUpload(_DAMAGED.format("a size is wrong"))
            extension.size = _decimal(records[b"size"])
        _set_sparse(extension, records)


def _check_global(records: dict[bytes, bytes]) -> None:
    if {b"path", b"linkpath", b"size"} & records.keys():
        raise InvalidUpload(_DAMAGED.format("one name or size for all members"))
    if any(map(_is_sparse, records)):
        raise _sparse()


def _decimal(digits: bytes) -> int:
    if len(digits) > 19:
        raise InvalidUpload(_DAMAGED.format("a size is wrong"))
    return int(digits)


def _set_name(extension: _Extension, name: bytes) -> None:
    if extension.name is not None:
        raise InvalidUpload(_DAMAGED.format("two names for one member"))
    extension.name = name


def _set_sparse(extension: _Extension, records: dict[bytes, bytes]) -> None:
    if not any(map(_is_sparse, records)):
        return
    found = {key: value for key, value in records.items() if _is_sparse(key)}
    if found.pop(_SPARSE + b"major", b"") != b"1" or found.pop(_SPARSE + b"minor", b"") != b"0":
        raise _sparse()
    size = found.pop(_SPARSE + b"realsize", b"")
    extension.name = found.pop(_SPARSE + b"name", b"")  # that of the header is made up
    if found or extension.sparse_size is not None or not size.isdigit():
        raise _sparse()
    extension.sparse_size = _decimal(size)


def _is_sparse(key: bytes) -> bool:
    return key.startswith(_SPARSE)


def _set_link(extension: _Extension, name: bytes) -> None:
    extension.link = name
    extension.links += 1


def _pax(data: bytes) -> dict[bytes, bytes]:
    records: dict[bytes, bytes] = {}
    at = 0
    while at < len(data):
        match = _PAX_RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if match is None or not match.end() < end <= len(data) or data[end - 1] != ord("\n"):
            raise InvalidUpload(_DAMAGED.format("an extended header is wrong"))
        if match[2] in records and not _is_sparse(match[2]):
            raise InvalidUpload(_DAMAGED.format("an extended header says something twice"))
        records[match[2]] = data[match.end() : end - 1]
        at = end
    return records


def _stored_size(size: int, extension: _Extension) -> int:
    if extension.size is None:
        return size
    # Programs that look at the header only would find other members than those that look at both.
    if extension.size < _OCTAL_LIMIT and size != extension.size:
        raise InvalidUpload(_DAMAGED.format("two sizes for one member"))
    return extension.size


def _member(header: bytes, kind: int, stored: int, extension: _Extension) -> _Arguments:
    name = _text(_own_name(header) if extension.name is None else extension.name)
    if kind == ord("S") or (extension.sparse_size is not None and kind not in _FILE_TYPES):
        raise _sparse()
    if kind not in _FILE_TYPES and kind not in {_DIRECTORY, _HARD_LINK}:
        raise InvalidUpload(f"The archive has {shown(name)}, which is no plain file: send plain files only.")
    return {
        "raw_name": name,
        "is_dir": kind == _DIRECTORY or name.endswith("/"),
        "size": stored if extension.sparse_size is None else extension.sparse_size,
        "executable": bool(_number(header[100:108]) & 0o111),
        "copy_of": _target(header, name, stored, extension) if kind == _HARD_LINK else None,
        "mtime": _time(header[136:148]),
    }


def _no_file(header: bytes, kind: int, stored: int, extension: _Extension) -> tuple[str, int, str]:
    name = _text(_own_name(header) if extension.name is None else extension.name)
    if kind != SYMBOLIC_LINK:
        if stored:
            raise InvalidUpload(_DAMAGED.format("a device with content"))
        return name, kind, ""
    return name, kind, _target(header, name, stored, extension)


def _time(field: bytes) -> int:
    """Return the time, or 0 where it is none: nothing depends on it."""
    try:
        return min(_number(field), _LAST_TIME)
    except InvalidUpload:
        return 0


def _target(header: bytes, name: str, stored: int, extension: _Extension) -> str:
    """Return the name of the member that a hard link leads to."""
    if stored or name.endswith("/"):
        # Some programs would read content here, and others the next header.
        raise InvalidUpload(_DAMAGED.format("a link with content"))
    if extension.links > 1:
        raise InvalidUpload(_DAMAGED.format("two targets for one link"))
    return _text(header[157:257].split(b"\0", 1)[0] if extension.link is None else extension.link)


def _own_name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0]
    if header[257:263] == b"ustar\0" and prefix:
        return prefix + b"/" + name
    return name


def _text(name: bytes) -> str:
    return name.decode(errors="surrogateescape")


def _sparse() -> InvalidUpload:
    return InvalidUpload("The archive has sparse files; make it without --sparse.")


def _read_padding(source: _Around) -> None:
    while block := source.read(BLOCK):
        if not _is_zero(block):
            raise InvalidUpload("The tar archive is followed by something else; send one archive.")
