"""Outputs on their way in. What has come as a whole of an attempt outlives it, and the next one can go on.

An attempt is a directory with ``files``, and with a note of what they are and how far the tar was read.
"""

import errno
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from flows.archives import tars
from flows.archives.compression import BLOCK
from flows.archives.writing import Room
from flows.disk import attempts, private_files
from flows.disk.durability import fsync, syncfs
from flows.disk.trees import remove_tree
from flows.errors import InvalidUpload, Unavailable, VisitorError
from flows.staging import listing as listings
from flows.staging.draft import Draft
from flows.staging.listing import Listing
from flows.staging.sending import open_file
from flows.transfers.offers import Offer
from flows.transfers.sent_tar import HashedSource, Limits, SentTar

_NOTED_EVERY = 256 << 20
"""Bytes after which it is noted how far the tar was read; what was written is made durable before that."""

_SEEN_EVERY = 5.0
"""Seconds after which an attempt shows again that it goes on."""

STILL = 90.0
"""Seconds after which an attempt that showed nothing does not go on any more."""


class OffsetWrong(VisitorError):
    """The tar cannot go on there."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tar was read: for each part, where it ends in the tar and the SHA-256 of its bytes."""

    parts: tuple[tuple[int, str], ...] = ()
    complete: bool = False
    left_away: int = 0

    @property
    def offset(self) -> int:
        """Where the tar goes on."""
        return self.parts[-1][0] if self.parts else 0


class Arrival:
    """One attempt to send outputs. Its methods block.

    Raises Unavailable when another attempt has taken its place, and what ``Offer`` raises.
    """

    def __init__(self, offer: Offer, turn: int, limits: Limits, min_free: int, start: int) -> None:
        self._offer = offer
        self._turn = turn
        self._start = start
        offer.check_turn(turn)
        drafts = offer.of_turn(turn) / "drafts"
        self._directory = attempts.go_on(drafts) if start else attempts.begin(drafts)
        self._files = Draft(self._directory / "files")
        self._files.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._before, listing = read_note(self._directory) if start else (Progress(), {})
        if self._before.offset != start:
            raise OffsetWrong(f"What has come ends at byte {self._before.offset}; go on there.")
        self._sent = SentTar(limits, listing)
        self._sent.left_away = self._before.left_away
        self._room = Room(self._directory, min_free)
        self._read = self._noted = start
        self._seen = time.monotonic()
        self._source: HashedSource | None = None

    def receive(self, take: Callable[[], bytes], *, announced: int = 0) -> str:
        """Read the tar, from ``start`` on, of which ``take`` gives the next bytes; return their SHA-256.

        There are at least as many as were ``announced``. Raises InvalidUpload for what is not taken, and
        OSError (ENOSPC) where there is no room: nothing of it is kept then, lest several wait for the room
        that each other's parts take.
        """
        if self._before.complete:  # and did not land
            if take():
                raise InvalidUpload("The tar goes on after its end; send it again.")
            return self._before.parts[-1][1]
        self._source = source = HashedSource(lambda: self._taken(take), self._start, self._at_member)
        try:
            self._room.check(announced)
            for member, content in tars.members(source, self._sent):
                if not member.is_dir:
                    self._receive(member.name, member.copy_of, content)
        except InvalidUpload:
            self.discard()
            raise
        except BaseException as error:
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                self.discard()
                raise
            with suppress(OSError):
                self._note()
            raise
        return source.digest

    def _taken(self, take: Callable[[], bytes]) -> bytes:
        block = take()
        if time.monotonic() - self._seen > _SEEN_EVERY:
            self._seen = time.monotonic()
            with self._files.unless_taken():
                os.utime(self._directory)
        return block

    def _receive(self, name: str, copy_of: str | None, content: Iterator[bytes]) -> None:
        if copy_of == name:
            return  # what was named twice, as a link to itself
        if copy_of is not None:
            content = self._read_again(copy_of)
        self._files.receive(name, self._sent.listing[name], self._counted(content))

    def _read_again(self, name: str) -> Iterator[bytes]:
        with open_file(self._files.path, name) as file:
            yield from iter(lambda: file.read(BLOCK), b"")

    def _counted(self, content: Iterator[bytes]) -> Iterator[bytes]:
        for block in content:
            yield block
            self._room.count(len(block))

    def _at_member(self, position: int) -> None:
        self._read = position
        self._sent.current = None
        if position - self._noted >= _NOTED_EVERY:
            with self._files.unless_taken():
                self._note()

    def _note(self) -> None:
        if self._source is None or self._read == self._start:
            return
        syncfs(self._files.path)
        listing = {name: entry for name, entry in self._sent.listing.items() if name != self._sent.current}
        parts = (*self._before.parts, (self._read, self._source.digest_of_members))
        _write_note(self._directory, Progress(parts, left_away=self._sent.left_away), listing)
        self._noted = self._read

    def finish(self) -> Progress:
        """Note that all has come, and return that. It has to be durable by then."""
        if (source := self._source) is None:
            return self._before
        parts = (*self._before.parts, (source.size, source.digest))
        progress = Progress(parts, complete=True, left_away=self._sent.left_away)
        with self._files.unless_taken():
            _write_note(self._directory, progress, self._sent.listing)
        return progress

    def discard(self) -> None:
        """Keep nothing of it."""
        remove_tree(self._directory)

    def land(self) -> None:
        """Let the outputs be those of the job, instead of what has landed before."""
        landed = self._offer.of_turn(self._turn) / "landed"
        name = f"{time.time_ns():020}.{secrets.token_hex(4)}"
        try:
            self._directory.rename(landed / name)
            fsync(landed)
        except FileNotFoundError:
            self._offer.check_turn(self._turn)
            raise Unavailable("Another attempt moves the job's files.") from None
        for earlier in list(landed.iterdir()):
            if earlier.name < name:
                remove_tree(earlier)


def progress(offer: Offer, turn: int) -> Progress:
    """Return how far the outputs have come."""
    offer.check_turn(turn)
    directory = offer.of_turn(turn)
    for attempt in sorted(_attempts(directory / "landed"), reverse=True):
        if (landed := read_note(attempt)[0]).complete:
            return landed
    drafts = [replace(read_note(attempt)[0], complete=False) for attempt in _attempts(directory / "drafts")]
    return max(drafts, key=lambda progress: progress.offset, default=Progress())


def is_moving(offer: Offer) -> bool:
    """Whether outputs are on their way."""
    since = time.time() - STILL
    for attempt in _attempts(offer.of_turn(offer.turn) / "drafts"):
        with suppress(FileNotFoundError):  # landed by now
            if attempt.stat().st_mtime > since:
                return True
    return False


def take(offer: Offer) -> Path | None:
    """Return what has landed, for the caller alone; None when nothing has."""
    while landed := _attempts(offer.landed):
        newest = max(landed)
        mine = newest.with_name(f"{newest.name.partition('.')[0]}.{secrets.token_hex(4)}")
        with suppress(FileNotFoundError):
            return newest.rename(mine)
    return None


def merge(attempt: Path, job_dir: Path) -> Progress:
    """Move what has landed to the job's directory; may be repeated."""
    progress, listing = read_note(attempt)
    if not progress.complete:
        raise Unavailable("Another attempt moves the job's files.")
    Draft(attempt / "files").merge(job_dir, listing)
    return progress


def read_note(attempt: Path) -> tuple[Progress, Listing]:
    """Return how far an attempt has come, and what there is of it."""
    try:
        head, _, rest = (attempt / "arrived").read_bytes().partition(b"\n")
    except FileNotFoundError:
        return Progress(), {}
    said = json.loads(head)
    parts = tuple((int(end), str(digest)) for end, digest in said["parts"])
    return Progress(parts, said["complete"], said["left_away"]), listings.parse(rest)


def _write_note(attempt: Path, progress: Progress, listing: Listing) -> None:
    head = json.dumps(asdict(progress)).encode()
    private_files.write_bytes(attempt / "arrived", head + b"\n" + listings.write(listing))


def _attempts(directory: Path) -> list[Path]:
    with suppress(FileNotFoundError):
        return list(directory.iterdir())
    return []
