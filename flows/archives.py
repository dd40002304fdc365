"""Uploaded archives: checked before they are accepted, unpacked when the job starts."""

import shutil
import stat
import zipfile
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from flows.errors import InvalidUpload

OUTPUTS = ("stdout.txt", "stderr.txt", "returncode")
"""What a job writes itself; a member of that name in an upload gives way."""


def check(path: Path, needs: Collection[str] = ()) -> None:
    """Raise InvalidUpload, in a sentence, for an archive that is not a safe zip or lacks a needed file."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = _safe_members(archive)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise InvalidUpload(f"The upload is not a readable zip archive ({error}).") from error
    names = {str(PurePosixPath(member.filename)) for member in members if not member.is_dir()}
    missing = [name for name in needs if name not in names]
    if missing:
        raise InvalidUpload(f"The archive lacks {', '.join(missing)}; put it at the top of the archive.")


def unpack(path: Path, directory: Path) -> None:
    """Unpack into a directory that is made anew.

    Raises InvalidUpload when the archive's content is not what it promises, OSError when the disk is full.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        with zipfile.ZipFile(path) as archive:
            for member in _safe_members(archive):
                archive.extract(member, directory)
    except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
        raise InvalidUpload(f"The archive cannot be unpacked ({error}); make it again.") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise InvalidUpload("The archive has one name for a file and for a directory; rename one.") from error
    for name in OUTPUTS:
        _remove(directory / name)


def _safe_members(archive: zipfile.ZipFile) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    for member in members:
        name = PurePosixPath(member.filename)
        if name.is_absolute() or ".." in name.parts or "\\" in member.filename:
            raise InvalidUpload(
                f"The archive has the member {member.filename!r}: use relative names inside it."
            )
        if member.flag_bits & 0x1:
            raise InvalidUpload("The archive is encrypted; send it without a password.")
        kind = stat.S_IFMT(member.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InvalidUpload(
                f"The archive has the link or device {member.filename!r}: send plain files only."
            )
    return members


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
