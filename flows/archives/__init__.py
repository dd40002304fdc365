"""Uploaded archives: checked before they are accepted, unpacked when the job starts.

Nobody trusts them: what they hold is bounded and safe to create, or they are refused as a whole.
"""

import shutil
import threading
import time
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import BinaryIO

from flows.archives import compression, tars, zip_directory, zips
from flows.archives.compression import Decompressed, Decompressor, OutOfTime, Plain
from flows.archives.contents import Contents, Member
from flows.archives.limits import UploadLimits
from flows.archives.writing import Room, Tree
from flows.disk.places import OUTPUTS
from flows.errors import InvalidUpload

FORMATS = "zip, tar, tar.gz, tar.bz2, tar.xz or tar.zst"

CHECK_SECONDS = 20.0
"""How long a visitor may have to wait while a compressed tar is looked through."""

_COMPRESSIONS: dict[bytes, Callable[[], Decompressor]] = {
    b"\x1f\x8b": compression.gzip_decompressor,
    b"BZh": compression.bzip2_decompressor,
    b"\xfd7zXZ\0": compression.xz_decompressor,
    b"\x28\xb5\x2f\xfd": compression.zstd_decompressor,
    # A frame to skip, with which parallel Zstandard begins.
    b"\x50\x2a\x4d\x18": compression.zstd_decompressor,
}

Members = Iterator[tuple[Member, Iterator[bytes]]]


def check(path: Path, needs: Collection[str], limits: UploadLimits) -> None:
    """Raise InvalidUpload, in a sentence, for an archive that is not safe or lacks a needed file.

    What cannot be known without unpacking is left to ``unpack``. Raises OSError (ENOSPC) without room for it.
    """
    contents = Contents(limits, path.stat().st_size)
    complete = True
    with path.open("rb") as file:
        try:
            for _ in _members(file, contents, time.monotonic() + CHECK_SECONDS):
                pass
        except OutOfTime:
            complete = False
    missing = [name for name in needs if not contents.has_file(name)]
    if missing and not complete:
        raise InvalidUpload(
            f"The archive takes too long to look through; put {', '.join(missing)} at its beginning."
        )
    if missing:
        raise InvalidUpload(f"The archive lacks {', '.join(missing)}; put it at the top of the archive.")
    Room(path.parent, limits.min_free_bytes).check(contents.size)


class Stopped(Exception):
    """Somebody set the event that stops the unpacking."""


def unpack(path: Path, directory: Path, limits: UploadLimits, stop: threading.Event | None = None) -> None:
    """Unpack into a directory that is made anew; after an error there is none.

    Raises InvalidUpload when the archive is not what it promises, OSError when the disk is full, and Stopped
    soon after ``stop`` was set.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(mode=0o700, parents=True)
    try:
        room = Room(directory, limits.min_free_bytes)
        room.check()
        tree = Tree(directory, room)
        with path.open("rb") as file:
            for member, content in _members(file, Contents(limits, path.stat().st_size), None):
                if member.copy_of is not None:
                    if member.copy_of == member.name:
                        continue  # GNU tar has a file that was named twice as a link to itself
                    content = tree.read(member.copy_of)
                tree.write(member, _until(stop, content))
        for name in OUTPUTS:
            tree.remove(name)
    except BaseException:
        shutil.rmtree(directory)
        raise


def _until(stop: threading.Event | None, content: Iterator[bytes]) -> Iterator[bytes]:
    for piece in content:
        if stop is not None and stop.is_set():
            raise Stopped
        yield piece


def _members(file: BinaryIO, contents: Contents, deadline: float | None) -> Members:
    beginning = file.read(tars.RECORD)
    file.seek(0)
    if beginning.startswith(zip_directory.BEGINNINGS):
        return zips.members(file, contents)
    if tars.begins_like_tar(beginning):
        return tars.members(Plain(file), contents)
    for magic, new in _COMPRESSIONS.items():
        if beginning.startswith(magic):
            return tars.members(Decompressed(file, new, deadline), contents)
    raise InvalidUpload(f"The upload is not an archive that is known here: send {FORMATS}.")
