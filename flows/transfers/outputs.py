"""The far side's directory of a job: filled with the input, and what of it is to be sent back."""

import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

from flows.archives import tars
from flows.archives.compression import Blockwise
from flows.staging.draft import Draft
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing
from flows.transfers.sent_tar import Limits, SentTar

_UNLIMITED = Limits(max_files=1 << 40, max_bytes=1 << 60)


class _Taken(Blockwise):
    def __init__(self, take: Callable[[], bytes]) -> None:
        super().__init__()
        self._take = take

    def next_block(self) -> bytes:
        return self._take()


def unpack(directory: Path, take: Callable[[], bytes]) -> Listing:
    """Make the directory anew, of the tar of which ``take`` gives the next bytes; return what is in it.

    Raises InvalidUpload for a tar that is none, and OSError.
    """
    if directory.is_dir():
        shutil.rmtree(directory)
    directory.mkdir(mode=0o700, parents=True)
    draft, sent = Draft(directory), SentTar(_UNLIMITED, {})
    for member, content in tars.members(_Taken(take), sent):
        if not member.is_dir:
            draft.receive(member.name, sent.listing[member.name], content)
    for name, entry in sent.listing.items():
        if entry.kind == DIRECTORY:
            (directory / name).mkdir(mode=0o700, exist_ok=True)
    # Last, so that nothing was written through one.
    for name, entry in sent.listing.items():
        if entry.kind == LINK:
            (directory / name).symlink_to(entry.target)
    return scan(directory)


def scan(directory: Path) -> Listing:
    """List what is there, parents first; what the job has denied to itself is allowed again.

    Left away is what is neither file, directory nor link.
    """
    listing: Listing = {}
    _scan(os.fspath(directory), "", listing)
    return listing


def _scan(directory: str, prefix: str, listing: Listing) -> None:
    with os.scandir(directory) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        info = entry.stat(follow_symlinks=False)
        name = prefix + entry.name
        changed = f"{info.st_ctime_ns} {info.st_ino}"
        if stat.S_ISDIR(info.st_mode):
            if info.st_mode & 0o700 != 0o700:
                os.chmod(entry.path, 0o700)  # noqa: PTH101 - thousands of them
            listing[name] = Entry(DIRECTORY)
            _scan(entry.path, f"{name}/", listing)
        elif stat.S_ISLNK(info.st_mode):
            target = os.readlink(entry.path)  # noqa: PTH115 - as it is, not tidied up
            listing[name] = Entry(LINK, mtime=info.st_mtime_ns, changed=changed, target=target)
        elif stat.S_ISREG(info.st_mode):
            if not info.st_mode & 0o400:
                os.chmod(entry.path, stat.S_IMODE(info.st_mode) | 0o600)  # noqa: PTH101 - as above
            executable = bool(info.st_mode & 0o100)
            listing[name] = Entry(FILE, info.st_size, info.st_mtime_ns, changed, executable=executable)


def unsent(there: Listing, inputs: Listing) -> Listing:
    """Return what is to be sent back: all but the inputs that are as they were."""
    return {name: entry for name, entry in there.items() if inputs.get(name) != entry}
