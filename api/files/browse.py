"""A job's directory as its visitor sees it: nothing that is in it leads out of it.

Whoever asks and whatever runs in the directory may change it at any moment. So every name is looked up in its
open directory and never through a link; links are read here, and followed as long as they stay inside.
"""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.files.open_file import FLAGS, NotThere, OpenFile
from api.files.paths import Names, meant, parts

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MOST_LINKS = 40  # as the kernel's
_ABSENT = frozenset(
    {
        errno.ENOENT,
        errno.ENOTDIR,
        errno.ELOOP,  # a link has come where none was
        errno.ENAMETOOLONG,
        errno.EACCES,
        errno.EPERM,
        errno.ENXIO,  # a socket
        errno.EINVAL,  # a name that this filesystem cannot have, or no link any more
        errno.EILSEQ,
        errno.ESTALE,
    }
)


@contextmanager
def _absent(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _ABSENT:
            raise NotThere(what) from error
        raise


@dataclass(frozen=True, slots=True)
class Found:
    """Something in the job's directory, links followed."""

    names: Names
    mode: int

    @property
    def is_dir(self) -> bool:
        return stat.S_ISDIR(self.mode)

    @property
    def is_file(self) -> bool:
        return stat.S_ISREG(self.mode)


@dataclass(frozen=True, slots=True)
class Entry:
    """What a directory holds under a name. ``found`` is None for a link that leads nowhere or out."""

    name: str
    is_link: bool
    found: Found | None

    @property
    def is_dir(self) -> bool:
        return self.found is not None and self.found.is_dir

    @property
    def is_file(self) -> bool:
        return self.found is not None and self.found.is_file


class _Position:
    """A directory on the way. Only this one is held open, however deep it is."""

    def __init__(self, root: Path, names: Names = ()) -> None:
        self.names = list(names)
        self._root = root
        self._descriptor: int | None = None

    def __enter__(self) -> "_Position":
        return self

    def __exit__(self, *_: object) -> None:
        self._leave()

    @property
    def descriptor(self) -> int:
        if self._descriptor is None:
            # The job's own directory may be a link: `bartender link` makes one.
            self._descriptor = os.open(self._root, _DIRECTORY & ~os.O_NOFOLLOW)
            for name in self.names:
                self._enter(name)
        return self._descriptor

    def down(self, name: str) -> None:
        self._enter(name)
        self.names.append(name)

    def up(self, levels: int) -> None:
        if levels > len(self.names):
            raise NotThere("/".join(self.names))
        self._leave()
        del self.names[len(self.names) - levels :]

    def look(self, name: str) -> tuple[str, os.stat_result]:
        """Return what is called or shown like this, and its real name."""
        try:
            return name, os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except FileNotFoundError:
            if (real := meant(name)) == name:
                raise
            return real, os.stat(real, dir_fd=self.descriptor, follow_symlinks=False)

    def _enter(self, name: str) -> None:
        descriptor = os.open(name, _DIRECTORY, dir_fd=self.descriptor)
        self._leave()
        self._descriptor = descriptor

    def _leave(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


class JobDirectory:
    """A job's directory. The methods wait for the disk, call them in a thread; each may raise NotThere."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def find(self, names: Names, start: Names = ()) -> Found:
        """Return where this really is, seen from the directory ``start``."""
        with _absent("/".join(names)), _Position(self._root, start) as here:
            return self._find(here, names)

    def _find(self, here: _Position, names: Names) -> Found:
        ahead = list(reversed(names))
        links = 0
        while ahead:
            name = ahead.pop()
            if name == "..":  # of a link: parts() lets none of the visitor's through
                here.up(1)
                continue
            name, status = here.look(name)
            if stat.S_ISLNK(status.st_mode):
                links += 1
                if links > _MOST_LINKS:
                    raise NotThere(name)
                ahead += reversed(self._target(here, name))
            elif stat.S_ISDIR(status.st_mode):
                here.down(name)
            elif ahead:
                raise NotThere(name)
            else:
                return Found((*here.names, name), status.st_mode)
        return Found(tuple(here.names), os.fstat(here.descriptor).st_mode)

    def _target(self, here: _Position, name: str) -> list[str]:
        target = os.readlink(name, dir_fd=here.descriptor)
        if target.startswith("/"):
            target = self._from_root(target)
            here.up(len(here.names))
        return [part for part in target.split("/") if part not in ("", ".")]

    def _from_root(self, target: str) -> str:
        for root in (str(self._root), os.path.realpath(self._root)):
            if f"{target}/".startswith(f"{root}/"):
                return target[len(root) :]
        raise NotThere(target)

    def open(self, found: Found) -> OpenFile:
        """Open a regular file."""
        *directory, name = found.names or ("",)
        with _absent(name), _Position(self._root, tuple(directory)) as here:
            return OpenFile(os.open(name, FLAGS, dir_fd=here.descriptor))

    def open_path(self, path: str) -> OpenFile:
        """Open the regular file at a visitor's path."""
        found = self.find(parts(path))
        if not found.is_file:  # and is not opened: devices do things then
            raise NotThere(path)
        return self.open(found)

    def find_directory(self, path: str) -> Found:
        """Return the directory at a visitor's path."""
        found = self.find(parts(path))
        if not found.is_dir:
            raise NotThere(path)
        return found

    def entries(self, names: Names) -> list[Entry]:
        """Return what is in a directory, sorted by name."""
        with (
            _absent("/".join(names)),
            _Position(self._root, names) as here,
            os.scandir(here.descriptor) as scan,
        ):
            return sorted((self._entry(names, item) for item in scan), key=lambda entry: entry.name)

    def _entry(self, directory: Names, item: os.DirEntry[str]) -> Entry:
        if not item.is_symlink():
            mode = stat.S_IFDIR if item.is_dir(follow_symlinks=False) else 0
            if item.is_file(follow_symlinks=False):
                mode = stat.S_IFREG
            return Entry(item.name, False, Found((*directory, item.name), mode))
        try:
            return Entry(item.name, True, self.find((item.name,), directory))
        except NotThere:
            return Entry(item.name, True, None)
