"""Directories of a job as archives that are made while they are sent: no copy of anything, little memory."""

import asyncio
import fnmatch
import logging
import re
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from api.files.browse import Entry, Found, JobDirectory
from api.files.downloads import disposition
from api.files.open_file import NotThere, OpenFile
from api.files.packing import ArchiveFormat, Packer, Sink, is_dense, packer
from api.files.paths import Names, shown
from api.files.pulled import PulledAnswer
from api.services import Services

logger = logging.getLogger(__name__)

_CHUNK = 1 << 18
_PIECE = 1 << 18  # bytes, or
_STEP = 0.02  # seconds of work, after which what there is is sent
_WORTH_A_LOOK = 1 << 12  # bytes of a file, of which
_PART = 64  # is looked at, at its beginning, middle and end each, but
_SHORTEST_SAMPLE = 1 << 9  # bytes at least: fewer would not tell text from anything else
_LONGEST_SAMPLE = 1 << 14
# Packing keeps processors busy: the other threads of the disk are for everybody else.
_PACKING = asyncio.Semaphore(4)


class Excluded:
    """What is left out: files and directories whose name matches a shell pattern.

    ``*`` and ``?`` match anything in a name, ``[ab]`` and ``[!ab]`` a character; case matters. A directory is
    left out with all that is in it. A pattern with a slash is for the path from the archive's top.
    """

    def __init__(self, files: list[str], directories: list[str]) -> None:
        self._files = [_Pattern(pattern) for pattern in files]
        self._directories = [_Pattern(pattern) for pattern in directories]

    def leaves_out(self, path: str, *, is_dir: bool) -> bool:
        patterns = self._directories if is_dir else self._files
        return any(pattern.matches(path) for pattern in patterns)


class _Pattern:
    def __init__(self, pattern: str) -> None:
        self._of_path = "/" in pattern
        self._match = re.compile(fnmatch.translate(pattern)).match

    def matches(self, path: str) -> bool:
        return self._match(path if self._of_path else path.rpartition("/")[2]) is not None


@dataclass(frozen=True, slots=True)
class Member:
    """What comes into an archive, by its names there. ``below_link``: a link is on the way."""

    names: Names
    found: Found
    below_link: bool = False


class Walk:
    """What belongs into the archive of a directory, each directory before what is in it."""

    def __init__(self, directory: JobDirectory, excluded: Excluded) -> None:
        self._directory = directory
        self._excluded = excluded

    def members(self, top: Found) -> Iterator[Member | None]:
        """Yield them, and None where a directory was read: reading may take its time."""
        waiting = [Member((), top)]
        while waiting:
            member = waiting.pop()
            if member.names:
                yield member
            if member.found.is_dir:
                waiting += reversed(self._below(member))
                yield None

    def _below(self, member: Member) -> list[Member]:
        try:
            entries = self._directory.entries(member.found.names)
        except NotThere as error:
            logger.warning("An archive lacks what is in %s: %s", shown(str(error)), error.__cause__)
            return []
        return [below for entry in entries if (below := self._member(entry, member))]

    def _member(self, entry: Entry, above: Member) -> Member | None:
        if not (entry.found and (entry.is_dir or entry.is_file)):
            return None
        # Links may make loops, and of a few of them there are endless ways. So one on each way is enough.
        if entry.is_dir and entry.is_link and above.below_link:
            return None
        names = (*above.names, entry.name)
        if self._excluded.leaves_out("/".join(map(shown, names)), is_dir=entry.is_dir):
            return None
        return Member(names, entry.found, above.below_link or (entry.is_link and entry.is_dir))


def _pack(directory: JobDirectory, members: Iterator[Member | None], into: Packer) -> Iterator[None]:
    """Yield after each bit of work."""
    for member in members:
        if member is not None:
            name = "/".join(member.names)
            if member.found.is_dir:
                into.add_directory(name)
            else:
                yield from _pack_file(directory, member.found, name, into)
        yield
    into.close()


def _pack_file(directory: JobDirectory, found: Found, name: str, into: Packer) -> Iterator[None]:
    try:
        file = directory.open(found)
    except NotThere as error:
        logger.warning("An archive lacks %s: %r", shown(name), error.__cause__)
        return
    try:
        with into.file(name, file.status, is_dense=_is_dense(file)) as target:
            position = 0
            while position < file.size:
                content = file.read(position, min(_CHUNK, file.size - position))
                position += len(content)
                target.write(content)
                yield
    finally:
        file.close()


def _is_dense(file: OpenFile) -> bool:
    if file.size < _WORTH_A_LOOK:
        return False
    # In proportion, since small files may be many.
    length = min(max(file.size // _PART, _SHORTEST_SAMPLE), _LONGEST_SAMPLE)
    places = (0, (file.size - length) // 2, file.size - length)
    return is_dense(b"".join(file.read(place, length) for place in places))


def archive(
    root: Path, path: str, archive_format: ArchiveFormat, excluded: Excluded
) -> Generator[bytes, None, None]:
    """Return the pieces, some of them empty; raise NotThere unless the path is a directory's.

    This and each piece wait for the disk.
    """
    directory = JobDirectory(root)
    members = Walk(directory, excluded).members(directory.find_directory(path))
    sink = Sink()
    return _pieces(sink, _pack(directory, members, packer(archive_format, sink)))


def _pieces(sink: Sink, work: Iterator[None]) -> Generator[bytes, None, None]:
    due = 0.0  # what comes first is sent at once
    for _ in work:
        if sink.size >= _PIECE or time.monotonic() >= due:
            yield sink.take()
            due = time.monotonic() + _STEP
    yield sink.take()


class ArchiveAnswer(PulledAnswer):
    """An archive that is made while it is sent."""

    turns = _PACKING

    def __init__(
        self,
        pieces: Generator[bytes, None, None],
        archive_format: ArchiveFormat,
        filename: str,
        services: Services,
    ) -> None:
        headers = {"Content-Disposition": disposition("attachment", filename)}
        super().__init__(pieces, services, headers=headers, media_type=archive_format.media_type)
