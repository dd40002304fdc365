"""A job as one tar each way, for places that hold no directories; ``flows.wrapper`` is at the other end.

What goes there holds ::

    job/...        the job's directory
    times/SECONDS  empty, and changed at that time
    inputs         lines of a shell script: same SECONDS NAME...

so that inputs which nobody has touched need not come back. What comes back is the job's directory without
those.
"""

import shlex
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from flows.archives import tars
from flows.archives.compression import Source
from flows.archives.contents import shown
from flows.disk import attempts, names
from flows.disk.trees import remove_tree
from flows.errors import StagingFailed, Unavailable
from flows.staging import listing as listings
from flows.staging import sending
from flows.staging.bridge import BLOCK
from flows.staging.draft import Draft
from flows.staging.landing import MIN_FREE
from flows.staging.listing import FILE, Listing
from flows.transfers.sent_tar import Limits, SentTar, TooMuchSent

_RECORD = tarfile.BLOCKSIZE
_NAMES_IN_A_LINE = 100


def size(sent: Listing) -> int:
    """Return about how many bytes the tar has, rather too many."""
    return listings.total_size(sent.values()) + (len(sent) + 1) * 8 * _RECORD


def pack(job_dir: Path, sent: Listing) -> Iterator[bytes]:
    """Yield a tar of what is listed, in blocks of about a megabyte. Raises what ``sending.blocks`` does."""
    parts: list[bytes] = []
    waiting = 0
    for part in _parts(job_dir, sent):
        parts.append(part)
        waiting += len(part)
        if waiting >= BLOCK:
            yield b"".join(parts)
            parts, waiting = [], 0
    yield b"".join(parts)


def _parts(job_dir: Path, sent: Listing) -> Iterator[bytes]:
    inputs = _inputs(sent)
    yield _header(_own("inputs", size=len(inputs)))
    yield inputs + _padding(len(inputs))
    for seconds in {entry.mtime // 10**9 for entry in sent.values() if entry.kind == FILE}:
        yield _header(_own(f"times/{seconds}", mtime=seconds))
    yield _header(_own("job", kind=tarfile.DIRTYPE))
    for name, entry in sent.items():
        member = sending.tar_member(name, entry)
        member.name = f"job/{name}"
        yield _header(member)
        if entry.kind == FILE:
            yield from _content(job_dir, name, entry.size)
    yield bytes(2 * _RECORD)


def _content(job_dir: Path, name: str, size: int) -> Iterator[bytes]:
    left = size
    for block in sending.blocks(job_dir, name):
        left -= len(block)
        if left < 0:
            break
        yield block
    if left:
        raise StagingFailed(f"{shown(name)} was changed while it was sent; submit the job again.")
    yield _padding(size)


def _inputs(sent: Listing) -> bytes:
    by_time = defaultdict(list)
    for name, entry in sent.items():
        if entry.kind == FILE:
            by_time[entry.mtime // 10**9].append(shlex.quote(f"./{name}"))
    lines = [
        f"same {seconds} {' '.join(of_then[at : at + _NAMES_IN_A_LINE])}\n"
        for seconds, of_then in by_time.items()
        for at in range(0, len(of_then), _NAMES_IN_A_LINE)
    ]
    return "".join(lines).encode("utf-8", "surrogateescape")


def _own(name: str, *, size: int = 0, mtime: int = 0, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.size, member.mtime = kind, size, mtime
    member.mode = 0o700 if kind == tarfile.DIRTYPE else 0o600
    return member


def _header(member: tarfile.TarInfo) -> bytes:
    return member.tobuf(tarfile.GNU_FORMAT, "utf-8", "surrogateescape")


def _padding(size: int) -> bytes:
    return bytes(-size % _RECORD)


class Outputs:
    """Where the outputs of one job land. Its methods block.

    Another attempt may take that over: then they raise Unavailable.
    """

    def __init__(self, job_dir: Path, token: str) -> None:
        self._job_dir = job_dir
        self._drafts = job_dir.with_name(names.fetched(token))

    def unpack(self, source: Source) -> None:
        """Bring everything in a tar to the job's directory.

        Nobody trusts who has packed it. Raises InvalidUpload for what is no proper tar, perhaps as it ends
        too early, and Unavailable when there is no room.
        """
        draft = Draft(attempts.begin(self._drafts))
        draft.path.mkdir(mode=0o700)
        room = shutil.disk_usage(draft.path).free - MIN_FREE
        sent = SentTar(Limits(listings.MAX_ENTRIES, room), {})
        try:
            for member, content in tars.members(source, sent):
                if not member.is_dir:
                    if member.copy_of is not None:
                        content = _read(draft.path / member.copy_of)
                    draft.receive(member.name, sent.listing[member.name], content)
        except TooMuchSent as error:
            raise Unavailable(
                "The server's disk has no room for the outputs. They are fetched when there is room."
            ) from error
        draft.merge(self._job_dir, sent.listing)
        self.remove()

    def remove(self) -> None:
        """Remove what is on its way."""
        if self._drafts.is_dir():
            remove_tree(self._drafts)


def _read(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        yield from iter(lambda: file.read(BLOCK), b"")
