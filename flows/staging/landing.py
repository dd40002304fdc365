"""This machine's side of stage out: files come to a draft beside the job's directory, then all into it."""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from flows.disk import attempts, names
from flows.disk.places import OUTPUTS
from flows.disk.trees import remove_tree
from flows.errors import Unavailable
from flows.staging.draft import Draft
from flows.staging.listing import DIRECTORY, FILE, Entry, Listing, total_size

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
        self._own: Draft | None = None
        self._arrived: dict[str, Entry] = {}

    @property
    def _draft(self) -> Draft:
        if self._own is None:
            self._own = Draft(attempts.go_on(self._drafts))
        return self._own

    def has_outputs(self) -> bool:
        """Whether a stage out has come to its end. Uploads have no files of these names."""
        return any((self._job_dir / name).exists() for name in OUTPUTS)

    def wanted(self, there: Listing, inputs: Listing) -> Listing:
        """Return the files that are to be sent; of the draft, keep only what is as it is there."""
        with self._draft.unless_taken():
            self._prune("", there)
        wanted = {
            name: entry
            for name, entry in there.items()
            if entry.kind == FILE and not self._is_here(name, entry, inputs.get(name))
        }
        free = shutil.disk_usage(self._draft.path).free
        if total_size(wanted.values()) > free - MIN_FREE:
            raise Unavailable(
                f"The server's disk has no room for the outputs: they have {total_size(wanted.values())} "
                f"bytes, and {free} are free. They are fetched when there is room."
            )
        return wanted

    def _prune(self, prefix: str, there: Listing) -> None:
        for child in list(os.scandir(self._draft.path / prefix)):
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
        if self._arrived.get(name) == entry or _is_same(f"{self._draft.path}/{name}", entry):
            return True
        here = f"{self._job_dir}/{name}"
        # Sent from here and not touched since, or of an earlier try that got as far as that.
        return (entry == sent and _is_file(here, entry.size)) or _is_same(here, entry)

    def receive(self, name: str, entry: Entry, content: Iterable[bytes]) -> None:
        """Write one of the wanted files. It counts as arrived if it is as long as it was said to be."""
        if self._draft.receive(name, entry, content):
            self._arrived[name] = entry

    def missing(self, wanted: Mapping[str, Entry]) -> list[str]:
        """Return what has not arrived."""
        return [name for name, entry in wanted.items() if self._arrived.get(name) != entry]

    def merge(self, there: Listing) -> None:
        """Move everything to the job's directory; may be repeated. Files that only are here are kept."""
        self._draft.merge(self._job_dir, there)
        self.remove_draft()

    def remove_draft(self) -> None:
        """Remove what has not been merged."""
        if self._drafts.is_dir():
            remove_tree(self._drafts)


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
