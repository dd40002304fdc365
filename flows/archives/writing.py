"""Members to files below one directory."""

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from flows.archives.compression import BLOCK
from flows.archives.contents import Member

_CHECK_EVERY = 64 << 20
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Room:
    """Raises OSError (ENOSPC) when less than ``floor`` bytes would stay free around ``path``."""

    def __init__(self, path: Path, floor: int) -> None:
        self._path = path
        self._floor = floor
        self._since = 0

    def check(self, size: int = 0) -> None:
        """Look whether there is room for so many bytes."""
        if shutil.disk_usage(self._path).free - size < self._floor:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self._path))

    def count(self, size: int) -> None:
        """Look once in a while, as the bytes are written."""
        self._since += size
        if self._since >= _CHECK_EVERY:
            self._since = 0
            self.check()


class Tree:
    """Files and directories for their owner alone; only the executable bit is kept."""

    def __init__(self, directory: Path, room: Room) -> None:
        self._root = str(directory)
        self._room = room
        self._directories: set[str] = {""}

    def write(self, member: Member, content: Iterator[bytes]) -> None:
        """Create the member, in the place of an earlier file, and the directories it is in."""
        if member.is_dir:
            self._make_directory(member.name)
            for _ in content:  # checked even if there is nothing to write
                pass
            return
        self._make_directory(member.name.rpartition("/")[0])
        with self._create(member) as file:
            for block in content:
                file.write(block)
                self._room.count(len(block))

    def read(self, name: str) -> Iterator[bytes]:
        """Yield the content of a file that was written."""
        with Path(self._root, name).open("rb") as file:
            yield from iter(lambda: file.read(BLOCK), b"")

    def remove(self, name: str) -> None:
        """Remove a file, or a directory with all that is in it, if it is there."""
        path = Path(self._root, name)
        if name in self._directories:
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _create(self, member: Member) -> BinaryIO:
        path = f"{self._root}/{member.name}"
        mode = 0o700 if member.executable else 0o600
        try:
            descriptor = os.open(path, _NEW, mode)
        except FileExistsError:
            Path(path).unlink()
            descriptor = os.open(path, _NEW, mode)
        return os.fdopen(descriptor, "wb")

    def _make_directory(self, name: str) -> None:
        missing = []
        while name not in self._directories:
            missing.append(name)
            name = name.rpartition("/")[0]
        for directory in reversed(missing):
            Path(self._root, directory).mkdir(0o700)
        self._directories.update(missing)
