"""What a tar may hold that somebody has sent, and how far it was read."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from flows.archives.compression import Blockwise
from flows.archives.contents import MAX_NAME, MAX_PART, Member, no_plain_file, shown
from flows.archives.tars import FIFO, SYMBOLIC_LINK
from flows.errors import InvalidUpload
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing, check_name, stays_inside


@dataclass(frozen=True, slots=True)
class Limits:
    """What one job may send back, inputs included that come along."""

    max_files: int
    max_bytes: int


class TooMuchSent(InvalidUpload):
    """More than the operator allows."""


class SentTar:
    """The members of a tar; refuses by InvalidUpload what could be made elsewhere, and what is too much.

    ``listing`` is what there is by now: parents first, and of several of one name the last. Links that lead
    out, and named pipes, are left away, and counted. ``current`` is the member that is being read.
    """

    def __init__(self, limits: Limits, listing: Listing) -> None:
        self.listing = listing
        self.left_away = 0
        self.current: str | None = None
        self.max_entries = limits.max_files
        self._limits = limits
        self._bytes = sum(entry.size for entry in listing.values())
        self._files = len(listing)

    def add(
        self,
        raw_name: str,
        *,
        is_dir: bool,
        size: int,
        executable: bool = False,
        copy_of: str | None = None,
        mtime: int = 0,
    ) -> Member:
        name = self._checked(raw_name)
        if not name:
            if not is_dir:
                raise InvalidUpload("The archive has a file without a name; give it one.")
            return Member("", is_dir=True, size=size)
        if is_dir:
            self._register(name, Entry(DIRECTORY))
            return Member(name, is_dir=True, size=size)
        if copy_of is not None:
            original = self.listing.get(copy_of := _plain(copy_of))
            if original is None or original.kind != FILE:
                raise no_plain_file(name)
            size, executable = original.size, original.executable
        self._register(name, Entry(FILE, size, mtime * 10**9, executable=executable))
        return Member(name, is_dir=False, size=size, executable=executable, copy_of=copy_of)

    def pass_by(self, raw_name: str, kind: int, target: str) -> None:
        name = self._checked(raw_name)
        if kind not in {SYMBOLIC_LINK, FIFO} or not name:
            raise no_plain_file(raw_name)
        if (
            kind == SYMBOLIC_LINK
            and len(target.encode(errors="surrogateescape")) <= MAX_NAME
            and (stays_inside(name, target))
        ):
            self._register(name, Entry(LINK, target=target))
        else:
            self._count(0)
            self.left_away += 1

    def _checked(self, raw_name: str) -> str:
        name = _plain(raw_name)
        try:
            if name:
                check_name(name)
        except ValueError:
            name = "/"
        if name.startswith("/"):
            raise InvalidUpload(
                f"The archive has the member {shown(raw_name)}: use relative names inside it."
            )
        encoded = name.encode(errors="surrogateescape")
        if len(encoded) > MAX_NAME or any(len(part) > MAX_PART for part in encoded.split(b"/")):
            raise InvalidUpload(f"The archive has the member {shown(raw_name)}: use a shorter name.")
        return name

    def _register(self, name: str, entry: Entry) -> None:
        for parent in _parents(name):
            if parent not in self.listing:
                self._count(0)
                self.listing[parent] = Entry(DIRECTORY)
            elif self.listing[parent].kind != DIRECTORY:
                raise _two_kinds(parent)
        before = self.listing.get(name)
        if before is not None and (before.kind == DIRECTORY) != (entry.kind == DIRECTORY):
            raise _two_kinds(name)
        self._count(entry.size)
        self.listing[name] = entry
        self.current = name

    def _count(self, size: int) -> None:
        self._files += 1
        self._bytes += size
        if self._files > self._limits.max_files:
            raise TooMuchSent(
                f"The job sends more than {self._limits.max_files} files; make an archive of them in the job."
            )
        if self._bytes > self._limits.max_bytes:
            raise TooMuchSent(f"The job sends more than {self._limits.max_bytes} bytes; that is all it may.")


class HashedSource(Blockwise):
    """The bytes of a tar as ``take`` gives them, from ``start`` on.

    ``at_member`` is called where a member has come to its end, with the position there in the tar.
    """

    def __init__(self, take: Callable[[], bytes], start: int, at_member: Callable[[int], None]) -> None:
        super().__init__()
        self._take = take
        self._at_member = at_member
        self._received = start
        self._whole = hashlib.sha256()
        self._unhashed = memoryview(b"")
        self._up_to_member = self._whole.copy()

    def next_block(self) -> bytes:
        self._whole.update(self._unhashed)
        block = self._take()
        self._received += len(block)
        self._unhashed = memoryview(block)
        return block

    def skip(self, size: int) -> None:
        super().skip(size)
        read = len(self._unhashed) - len(self._block)
        self._whole.update(self._unhashed[:read])
        self._unhashed = self._unhashed[read:]
        self._up_to_member = self._whole.copy()
        self._at_member(self._received - len(self._block))

    @property
    def size(self) -> int:
        """How many bytes of the tar have come, with those before ``start``."""
        return self._received

    @property
    def digest(self) -> str:
        """SHA-256 of all bytes from ``start`` on that have come, in hexadecimal."""
        whole = self._whole.copy()
        whole.update(self._unhashed)
        return whole.hexdigest()

    @property
    def digest_of_members(self) -> str:
        """SHA-256 of the bytes from ``start`` to the end of the last member, in hexadecimal."""
        return self._up_to_member.hexdigest()


def _plain(raw_name: str) -> str:
    """Return the name without what says nothing: ``./`` and slashes at its end."""
    name = raw_name.rstrip("/")
    while name.startswith("./"):
        name = name[2:].lstrip("/")
    return "" if name == "." or (not name and not raw_name.startswith("/")) else name or "/"


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]


def _two_kinds(name: str) -> InvalidUpload:
    return InvalidUpload(f"The archive has {shown(name)} as a directory and as something else; rename one.")
