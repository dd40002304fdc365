"""What an archive holds, whatever its format: names that are safe to create, in bounds."""

import unicodedata
from dataclasses import dataclass, replace

from flows.archives.limits import UploadLimits
from flows.errors import InvalidUpload

MAX_PART = 255
MAX_NAME = 3072
"""Bytes of a whole name: of the 4096 of a path, the job's directory needs some."""

RATIO_FROM = 1 << 30
"""Bytes up to which an archive may be as well compressed as it likes."""


@dataclass(frozen=True, slots=True)
class Member:
    """One file or directory. ``name`` is relative, without a slash at its end; empty for the top itself.

    A file of the archive whose content this one has as well is ``copy_of``.
    """

    name: str
    is_dir: bool
    size: int = 0
    executable: bool = False
    copy_of: str | None = None


class Contents:
    """The members of one archive, as far as it was read; raises InvalidUpload for what is not safe."""

    def __init__(self, limits: UploadLimits, archive_size: int) -> None:
        self.limits = limits
        self.size = 0
        self.archive_size = archive_size
        self.max_entries = limits.max_entries
        self._entries = 0
        # By the name as file systems see it that do not tell upper from lower case.
        self._names: dict[str, tuple[str, bool]] = {}
        self._directories: set[str] = set()
        self._files: dict[str, Member] = {}

    def add(
        self,
        raw_name: str,
        *,
        is_dir: bool,
        size: int,
        executable: bool = False,
        copy_of: str | None = None,
        mtime: int = 0,
        once: bool = False,
    ) -> Member:
        """Return the next member; reading more than ``size`` bytes of it is a mistake of the archive.

        ``copy_of`` is the name of an earlier file, which says size and mode. Of files of one name the last
        counts, unless each has to be there ``once``.
        """
        self._entries += 1
        if self._entries > self.limits.max_entries:
            raise InvalidUpload(
                f"The archive has too many members: at most {self.limits.max_entries} are allowed."
            )
        del mtime  # of when a visitor's files are, nobody is told
        member = Member(self._safe(raw_name), is_dir, size, executable)
        if copy_of is not None:
            member = self._copy(member, copy_of)
        self._count(member)
        if member.name:
            self._register(member, once)
        elif not is_dir:
            raise InvalidUpload(f"The archive has the file {shown(raw_name)}: give it a name.")
        return member

    def pass_by(self, raw_name: str, kind: int, target: str) -> None:
        """Refuse it: it could lead out of the job's directory."""
        raise no_plain_file(raw_name)

    def has_file(self, name: str) -> bool:
        """Whether there is a file of exactly this name."""
        return name in self._files

    def _copy(self, member: Member, target: str) -> Member:
        original = None if target.startswith("/") else self._files.get("/".join(_parts(target)))
        if original is None:
            raise no_plain_file(member.name)
        return replace(original, name=member.name, copy_of=original.name)

    def _count(self, member: Member) -> None:
        if member.is_dir and member.size:
            raise InvalidUpload(
                f"The archive has the directory {shown(member.name)} with content; remake it."
            )
        self.size += member.size
        most, ratio = self.limits.max_unpacked_bytes, self.limits.max_ratio
        if self.size > most:
            raise InvalidUpload(f"The archive is too large unpacked: at most {most} bytes are allowed.")
        if self.size > max(RATIO_FROM, ratio * self.archive_size):
            raise InvalidUpload(f"The archive unpacks to more than {ratio} times its size; compress it less.")

    def _safe(self, raw_name: str) -> str:
        try:
            raw_name.encode()
        except UnicodeEncodeError as error:
            raise InvalidUpload(
                f"The archive has the member {shown(raw_name)}: names must be UTF-8."
            ) from error
        if not raw_name.isprintable() and any(unicodedata.category(letter) == "Cc" for letter in raw_name):
            raise InvalidUpload(f"The archive has the member {shown(raw_name)}: use no control characters.")
        parts = _parts(raw_name)
        if raw_name.startswith("/") or "\\" in raw_name or ".." in parts:
            raise InvalidUpload(
                f"The archive has the member {shown(raw_name)}: use relative names inside it, with slashes."
            )
        name = "/".join(parts)
        if len(name.encode()) > MAX_NAME or any(len(part.encode()) > MAX_PART for part in parts):
            raise InvalidUpload(
                f"The archive has the member {shown(raw_name)}: use at most {MAX_PART} bytes between slashes "
                f"and {MAX_NAME} in all."
            )
        if len(parts) > self.limits.max_depth:
            raise InvalidUpload(
                f"The archive has the member {shown(raw_name)}: "
                f"at most {self.limits.max_depth} levels of directories are allowed."
            )
        return name

    def _register(self, member: Member, once: bool) -> None:
        parent = member.name.rpartition("/")[0]
        if parent and parent not in self._directories:
            parts = parent.split("/")
            for end in range(1, len(parts) + 1):
                self._register_one("/".join(parts[:end]), is_dir=True)
        self._register_one(member.name, is_dir=member.is_dir)
        if not member.is_dir:
            if once and member.name in self._files:
                raise InvalidUpload(f"The archive has {shown(member.name)} twice; send it once.")
            self._files[member.name] = member

    def _register_one(self, name: str, *, is_dir: bool) -> None:
        known, known_is_dir = self._names.setdefault(_folded(name), (name, is_dir))
        if known != name:
            raise InvalidUpload(
                f"The archive has {shown(known)} and {shown(name)}, which differ in upper and lower case "
                f"only; rename one."
            )
        if known_is_dir != is_dir:
            raise InvalidUpload(
                f"The archive has one name for a file and for a directory, {shown(name)}; rename one."
            )
        if is_dir:
            self._directories.add(name)


def no_plain_file(name: str) -> InvalidUpload:
    """Return the error for what could lead out of the job's directory."""
    return InvalidUpload(f"The archive has the link or device {shown(name)}: send plain files only.")


def shown(name: str) -> str:
    """Return the name for a sentence, on one line and not too long."""
    return repr(name if len(name) <= 100 else f"{name[:100]}…")


def _parts(name: str) -> list[str]:
    return [part for part in name.split("/") if part not in {"", "."}]


def _folded(name: str) -> str:
    return name.lower() if name.isascii() else unicodedata.normalize("NFC", name.casefold())
