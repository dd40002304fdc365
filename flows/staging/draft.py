"""A directory that files land in before all of them come to the job's directory.

Who has sent them is not trusted: nothing is made outside of the two, whatever the names and links.
"""

import logging
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flows.archives.contents import shown
from flows.disk.places import OUTPUTS
from flows.disk.trees import remove_tree
from flows.errors import Unavailable
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing, check_tree, stays_inside

logger = logging.getLogger(__name__)


class Draft:
    """The directory of one attempt, which is there. Another attempt takes it by giving it another name.

    Its methods block, and raise Unavailable when that has happened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def receive(self, name: str, entry: Entry, content: Iterable[bytes]) -> bool:
        """Write a file; return whether it is as long as it was said to be."""
        path = f"{self.path}/{name}"
        if "/" in name:
            with self.unless_taken():
                self._make_parents(self.path / name)
        size = 0
        with self.unless_taken(), _new_file(path, executable=entry.executable) as file:
            for block in content:
                _write(file, block)
                size += len(block)
        if size != entry.size:
            return False
        with self.unless_taken():
            os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
        return True

    def merge(self, job_dir: Path, there: Listing) -> None:
        """Move everything to the job's directory; may be repeated. Files that only are there are kept."""
        check_tree(there)
        with self.unless_taken():
            # First the directories, in the place of links that may be there: nothing leads through one then.
            for name in sorted(name for name, entry in there.items() if entry.kind == DIRECTORY):
                _make_directory(job_dir / name)
            # Last what tells that all the others are there.
            for name in sorted(there, key=lambda name: name.partition("/")[0] in OUTPUTS):
                self._put_in_place(job_dir, name, there[name])
        self.check()  # else some of it was not found here

    def _put_in_place(self, job_dir: Path, name: str, entry: Entry) -> None:
        place = job_dir / name
        if entry.kind == LINK:
            self._link(job_dir, name, entry.target)
        elif entry.kind == FILE and (draft := self.path / name).is_file():
            _clear_for_file(place)
            draft.replace(place)

    def _link(self, job_dir: Path, name: str, target: str) -> None:
        if not stays_inside(name, target):
            logger.warning("%s: the link %s to %s is left away", job_dir, shown(name), shown(target))
            return
        place, draft = job_dir / name, self.path / name
        self._make_parents(draft)
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        _clear_for_file(place)
        draft.replace(place)

    def _make_parents(self, path: Path) -> None:
        if path.parent == self.path:
            return  # never made anew: somebody may have taken it
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            for parent in list(path.relative_to(self.path).parents)[-2::-1]:
                (self.path / parent).mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def unless_taken(self) -> Iterator[None]:
        """Raise Unavailable instead of FileNotFoundError when another attempt has taken the directory."""
        try:
            yield
        except FileNotFoundError:
            self.check()
            raise

    def check(self) -> None:
        """Raise Unavailable when another attempt has taken the directory."""
        if not self.path.is_dir():
            raise Unavailable("Another attempt moves the job's files.")


def _new_file(path: str, *, executable: bool) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    mode = 0o700 if executable else 0o600
    try:
        descriptor = os.open(path, flags, mode)
    except FileExistsError:
        Path(path).unlink()
        descriptor = os.open(path, flags, mode)
    return os.fdopen(descriptor, "wb", buffering=0)


def _write(file: BinaryIO, block: bytes) -> None:
    rest = memoryview(block)
    while rest:  # the last bytes that the disk has room for are written without an error
        rest = rest[file.write(rest) :]


def _make_directory(place: Path) -> None:
    # Its parents were made before it.
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
    place.mkdir(mode=0o700, exist_ok=True)


def _clear_for_file(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
