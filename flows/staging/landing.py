"""This machine's side of stage out: files come to a draft beside the job's directory, then all into it.

The other machine is not trusted: nothing is made outside of the two, whatever it sends.
"""

import logging
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from flows.archives.contents import shown
from flows.disk import attempts, names
from flows.disk.places import OUTPUTS
from flows.disk.trees import remove_tree
from flows.errors import Unavailable
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing, stays_inside, total_size

logger = logging.getLogger(__name__)

MIN_FREE = 256 << 20
"""Bytes that stay free on this machine's disk."""


class Landing:
    """Where the files of one job land. Its methods block.

    The draft stays after an interruption, so that what arrived as a whole is not sent again: the next attempt
    takes it over. Raises Unavailable when that has happened to this one's.
    """

    def __init__(self, job_dir: Path, token: str) -> None:
        self._job_dir = job_dir
        self._drafts = job_dir.with_name(names.fetched(token))
        self._own: Path | None = None
        self._arrived: dict[str, Entry] = {}

    @property
    def _draft(self) -> Path:
        if self._own is None:
            self._own = attempts.go_on(self._drafts)
        return self._own

    def has_outputs(self) -> bool:
        """Whether a stage out has come to its end. Uploads have no files of these names."""
        return any((self._job_dir / name).exists() for name in OUTPUTS)

    def wanted(self, there: Listing, inputs: Listing) -> Listing:
        """Return the files that are to be sent; of the draft, keep only what is as it is there."""
        with self._unless_taken():
            self._prune("", there)
        wanted = {
            name: entry
            for name, entry in there.items()
            if entry.kind == FILE and not self._is_here(name, entry, inputs.get(name))
        }
        free = shutil.disk_usage(self._draft).free
        if total_size(wanted.values()) > free - MIN_FREE:
            raise Unavailable(
                f"The server's disk has no room for the outputs: they have {total_size(wanted.values())} "
                f"bytes, and {free} are free. They are fetched when there is room."
            )
        return wanted

    def _prune(self, prefix: str, there: Listing) -> None:
        for child in list(os.scandir(self._draft / prefix)):
            name = prefix + child.name
            entry = there.get(name)
            if child.is_dir(follow_symlinks=False):
                if entry is not None and entry.kind == DIRECTORY:
                    self._prune(f"{name}/", there)
                else:
                    shutil.rmtree(child.path)
            elif entry is None or not _is_same(child.path, entry):
                Path(child.path).unlink()

    def _is_here(self, name: str, entry: Entry, sent: Entry | None) -> bool:
        if self._arrived.get(name) == entry or _is_same(f"{self._draft}/{name}", entry):
            return True
        here = f"{self._job_dir}/{name}"
        # Sent from here and not touched since, or of an earlier try that got as far as that.
        return (entry == sent and _is_file(here, entry.size)) or _is_same(here, entry)

    def receive(self, name: str, entry: Entry, content: Iterable[bytes]) -> None:
        """Write one of the wanted files. It counts as arrived if it is as long as it was said to be."""
        path = self._draft / name
        with self._unless_taken():
            self._make_parents(path)
        path.unlink(missing_ok=True)
        size = 0
        with self._unless_taken(), _new_file(path, executable=entry.executable) as file:
            for block in content:
                file.write(block)
                size += len(block)
        if size == entry.size:
            with self._unless_taken():
                os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)
            self._arrived[name] = entry

    def missing(self, wanted: Mapping[str, Entry]) -> list[str]:
        """Return what has not arrived."""
        return [name for name, entry in wanted.items() if self._arrived.get(name) != entry]

    def merge(self, there: Listing) -> None:
        """Move everything to the job's directory; may be repeated. Files that only are here are kept."""
        with self._unless_taken():
            # Last what tells that all the others are there.
            for name in sorted(there, key=lambda name: name.partition("/")[0] in OUTPUTS):
                self._put_in_place(name, there[name])
        self._check()  # else some of it was not found there
        self.remove_draft()

    def _put_in_place(self, name: str, entry: Entry) -> None:
        place = self._job_dir / name
        if entry.kind == DIRECTORY:
            _make_directory(place)
        elif entry.kind == LINK:
            self._link(name, entry.target)
        elif (draft := self._draft / name).is_file():
            _clear_for_file(place)
            draft.replace(place)

    def _link(self, name: str, target: str) -> None:
        if not stays_inside(name, target):
            logger.warning("%s: the link %s to %s is left away", self._job_dir, shown(name), shown(target))
            return
        place, draft = self._job_dir / name, self._draft / name
        self._make_parents(draft)
        draft.unlink(missing_ok=True)
        draft.symlink_to(target)
        _clear_for_file(place)
        draft.replace(place)

    def _make_parents(self, path: Path) -> None:
        if path.parent == self._draft:
            return  # never made anew: somebody may have taken it
        try:
            path.parent.mkdir(mode=0o700, exist_ok=True)
        except FileNotFoundError:
            for parent in list(path.relative_to(self._draft).parents)[-2::-1]:
                (self._draft / parent).mkdir(mode=0o700, exist_ok=True)

    @contextmanager
    def _unless_taken(self) -> Iterator[None]:
        try:
            yield
        except FileNotFoundError:
            self._check()
            raise

    def _check(self) -> None:
        if not self._draft.is_dir():
            raise Unavailable("Another attempt fetches the job's files.")

    def remove_draft(self) -> None:
        """Remove what has not been merged."""
        if self._drafts.is_dir():
            remove_tree(self._drafts)


def _new_file(path: Path, *, executable: bool) -> BinaryIO:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, 0o700 if executable else 0o600), "wb")


def _is_file(path: str, size: int) -> bool:
    try:
        info = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(info.st_mode) and info.st_size == size


def _is_same(path: str, entry: Entry) -> bool:
    if entry.kind != FILE or not _is_file(path, entry.size):
        return False
    return os.lstat(path).st_mtime_ns == entry.mtime


def _make_directory(place: Path) -> None:
    # Its parents were made before it.
    if place.is_symlink() or (place.exists() and not place.is_dir()):
        place.unlink()
    place.mkdir(mode=0o700, exist_ok=True)


def _clear_for_file(place: Path) -> None:
    if place.is_dir() and not place.is_symlink():
        remove_tree(place)
