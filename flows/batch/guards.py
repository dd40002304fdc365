"""The guard of a job, and the notes in it, on a disk of this machine; ``script`` says what they are."""

import os
import shutil
from contextlib import suppress
from pathlib import Path

from flows.batch.notes import Notes


def make(guard: Path) -> bool:
    """Return whether it was not there yet."""
    try:
        guard.mkdir(mode=0o700)
    except FileExistsError:
        return False
    _give_away(guard)
    return True


def is_cancelled(guard: Path) -> bool:
    """Whether no script may begin any more."""
    return (guard / "cancelled").exists()


def mark_cancelled(guard: Path) -> None:
    """Let no script begin from now on."""
    make(guard)
    (guard / "cancelled").touch(mode=0o600)
    _give_away(guard / "cancelled")


def remove(guard: Path) -> None:
    """Remove it; of a job that was cancelled before it began, leave what stops a late submission."""
    if not is_cancelled(guard) or begun_as(guard) is not None:
        shutil.rmtree(guard, ignore_errors=True)
        return
    for note in guard.iterdir():
        if note.name != "cancelled":
            note.unlink(missing_ok=True)


def write_command(guard: Path, submission: str, content: bytes) -> None:
    """Write what the script runs, as a whole or not at all."""
    new = guard / submission
    new.touch(mode=0o600)
    _give_away(new)
    new.write_bytes(content)
    new.replace(guard / "command")


def begun_as(guard: Path) -> str | None:
    """Return the id of the job whose script got there first, if one did."""
    with suppress(OSError):
        return (guard / "job").readlink().name.rpartition(".")[2] or None
    return None


def notes(guard: Path) -> Notes:
    """Read them; what is not there yet, or cannot be read, is no note."""
    code = ""
    with suppress(OSError):
        code = (guard / "returncode").read_text(errors="replace").strip()
    return Notes(
        returncode=int(code) if code.isascii() and code.isdigit() else None,
        cancelled=is_cancelled(guard),
        begun=not guard.is_dir() or (guard / "job").is_symlink(),
    )


def _give_away(path: Path) -> None:
    """Let it belong to whom the job's files belong to, where we are root: the script runs as that user."""
    if os.geteuid() == 0:
        owner = path.parent.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
