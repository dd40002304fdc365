"""This machine's side of stage in: what is in a job's directory, and a tar of it."""

import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Protocol

from flows.archives.contents import shown
from flows.errors import StagingFailed
from flows.staging import failures
from flows.staging.bridge import BLOCK
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing, stays_inside

AGE = 1000
"""Seconds by which inputs look older there than here.

What a job writes then has another time, even if it writes as many bytes within the same second and the other
machine's disk knows no fractions of it.
"""


class Sink(Protocol):
    """Where a tar is written to."""

    def write(self, data: bytes, /) -> object:
        """Write all of it."""


def scan(job_dir: Path) -> Listing:
    """List the directory, parents first. Raises StagingFailed for what must not be sent."""
    listing: Listing = {}
    _scan(os.fspath(job_dir), "", listing)
    return listing


def _scan(directory: str, prefix: str, listing: Listing) -> None:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        name = prefix + entry.name
        listing[name] = made = _entry(entry, name)
        if made.kind == DIRECTORY:
            _scan(entry.path, f"{name}/", listing)


def _entry(entry: "os.DirEntry[str]", name: str) -> Entry:
    info = entry.stat(follow_symlinks=False)
    mtime = (int(info.st_mtime) - AGE) * 10**9
    if stat.S_ISDIR(info.st_mode):
        return Entry(DIRECTORY, mtime=mtime)
    if stat.S_ISREG(info.st_mode):
        return Entry(FILE, info.st_size, mtime, executable=bool(info.st_mode & 0o100))
    if stat.S_ISLNK(info.st_mode):
        target = os.readlink(entry.path)  # noqa: PTH115 - as it is, not tidied up
        if not stays_inside(name, target):
            raise StagingFailed(
                f"The link {shown(name)} leads out of the job's directory; send the file itself."
            )
        return Entry(LINK, mtime=mtime, target=target)
    raise StagingFailed(f"{shown(name)} is neither file, directory nor link; send plain files only.")


def write_tar(job_dir: Path, listing: Listing, sink: Sink) -> None:
    """Write all that is listed. Only for the owner there, and only the executable bit is kept."""
    blocks = _Blocks(sink)
    # Its mode for streams copies all that waits for a whole block again for each piece of a file.
    with tarfile.TarFile(
        fileobj=blocks,  # type: ignore[arg-type]  # it needs nothing else
        mode="w",
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
        copybufsize=BLOCK,
    ) as archive:
        for name, entry in listing.items():
            member = tar_member(name, entry)
            if entry.kind == FILE:
                with open_file(job_dir, name) as file:
                    archive.addfile(member, file)
            else:
                archive.addfile(member)
    blocks.flush()


class _Blocks:
    """Gathers what is written until there is enough to be worth sending."""

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._parts: list[bytes] = []
        self._size = 0

    def tell(self) -> int:
        return 0  # asked for once, at the beginning

    def write(self, data: bytes) -> int:
        self._parts.append(data)
        self._size += len(data)
        if self._size >= BLOCK:
            self.flush()
        return len(data)

    def flush(self) -> None:
        parts, self._parts, self._size = self._parts, [], 0
        self._sink.write(b"".join(parts))


def open_file(job_dir: Path, name: str) -> BinaryIO:
    """Open what was listed as a file."""
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(f"{os.fspath(job_dir)}/{name}", flags), "rb")


def blocks(job_dir: Path, name: str) -> Iterator[bytes]:
    """Read a listed file. Raises StagingFailed when that is not possible."""
    try:
        with open_file(job_dir, name) as file:
            while block := file.read(BLOCK):
                yield block
    except OSError as error:
        raise failures.here(error) from error


def tar_member(name: str, entry: Entry) -> tarfile.TarInfo:
    """Return the header that an entry has in a tar."""
    member = tarfile.TarInfo(f"./{name}")
    member.type = {DIRECTORY: tarfile.DIRTYPE, FILE: tarfile.REGTYPE, LINK: tarfile.SYMTYPE}[entry.kind]
    member.size = entry.size
    member.linkname = entry.target
    member.mode = mode(entry)
    member.mtime = entry.mtime // 10**9
    return member


def mode(entry: Entry) -> int:
    """Return the permissions that the entry has there."""
    return 0o700 if entry.kind == DIRECTORY or entry.executable else 0o600


def arrived(sent: Listing, there: Listing) -> bool:
    """Whether all of it is there, and nothing else."""
    return {name: _essence(entry) for name, entry in sent.items()} == {
        name: _essence(entry) for name, entry in there.items()
    }


def _essence(entry: Entry) -> tuple[str, int, str]:
    return entry.kind, entry.size, entry.target
