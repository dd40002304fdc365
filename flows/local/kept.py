"""What is on the disk of one command.

A directory, named by the command's token, that also is the proof of what became of it::

    submission.json   what is to run
    command           the shell script of it
    boot              names the machine's boot in which the wrapper was started, as a symbolic link
    started/          made by the command's wrapper: only the first wrapper of a token gets further
    process           "<pid> <start time>" of the wrapper, in clock ticks since boot (proc(5), stat field 22)
    returncode        of the command, once it has ended
    failure           why it was ended by us, if it was
    room/             keeps place on the disk for the last three, which are made of files in it

A power cut leaves the first as a whole, and ``boot`` where the command can have begun; all else may be
missing or empty. Everything here waits for the disk.
"""

import json
import os
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.destinations.scheduler import Submission
from flows.disk.durability import fsync
from flows.errors import CommandFailed, DestinationFailed, InternalError, JobFailure
from flows.local.processes import boot_id, is_shortage

VERSION = 1
"""Of ``submission.json``. Before the first one it had the same keys, and no version."""

_ROOM = {"process": 64, "returncode": 64, "failure": 1024}  # bytes


@dataclass(frozen=True, slots=True)
class Kept:
    """What a directory told when it was read.

    ``has_started``: a wrapper has taken the command, or may have before a power cut; no other ever will.
    ``was_restarted``: the machine was, since the command was given to a wrapper. ``started_at`` is in seconds
    since the epoch. ``ending`` is why somebody began to end it, who may have been interrupted in that.
    ``failure`` is what its end means where there is no return code. ``damage`` is why there is no submission.
    """

    directory: Path
    submission: Submission | None
    damage: str
    has_started: bool
    was_restarted: bool
    started_at: float
    process: tuple[int, int] | None
    ending: JobFailure | None
    returncode: int | None
    failure: JobFailure

    @property
    def can_run(self) -> bool:
        """Whether the command has started, or could: what was written down of it can be read."""
        return self.has_started or self.submission is not None


def read(directory: Path) -> Kept | None:
    """Return what is there, or None where no command is kept.

    OSError when the machine cannot tell just now.
    """
    if not directory.is_dir():
        return None
    submission, damage = _submission(directory)
    was_restarted = _was_restarted(directory)
    started_at = _made_at(directory / "started")
    return Kept(
        directory=directory,
        submission=submission,
        damage=damage,
        has_started=started_at is not None or was_restarted,
        was_restarted=was_restarted,
        started_at=time.time() if started_at is None else started_at,  # its wrapper is about to make it
        process=None if was_restarted else _process(directory),
        ending=_ending(directory),
        returncode=_returncode(directory),
        failure=_meaning_of_an_end(directory, was_restarted),
    )


def _submission(directory: Path) -> tuple[Submission | None, str]:
    try:
        return from_json((directory / "submission.json").read_bytes()), ""
    except (OSError, ValueError) as error:
        if isinstance(error, OSError) and is_shortage(error):
            raise
        return None, f"{directory} holds no submission that can be read ({error})"


def _was_restarted(directory: Path) -> bool:
    try:
        return str((directory / "boot").readlink()) != boot_id()
    except FileNotFoundError:  # not given to a wrapper yet, or by an earlier version
        return False


def _made_at(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return None


def _process(directory: Path) -> tuple[int, int] | None:
    try:
        pid, start_time = (directory / "process").read_text().split()
        return int(pid), int(start_time)
    except (FileNotFoundError, ValueError):
        return None


def _ending(directory: Path) -> JobFailure | None:
    try:
        text = (directory / "failure").read_text(encoding="utf-8", errors="replace").rstrip()
    except FileNotFoundError:
        return None
    kind, _, reason = text.partition("\n")
    return JobFailure.of_kind(kind, reason) if kind else None


def _returncode(directory: Path) -> int | None:
    try:
        return int((directory / "returncode").read_text())
    except (FileNotFoundError, ValueError):
        return None


def _meaning_of_an_end(directory: Path, was_restarted: bool) -> JobFailure:
    if was_restarted:
        return DestinationFailed("The machine was restarted before the end of the command was certain.")
    if (directory / "failure").exists():  # empty, by an earlier version
        return InternalError("The command was ended, and the disk had no room for the reason.")
    return CommandFailed("The command was killed before it could end by itself.")


def to_json(submission: Submission) -> str:
    """Return what ``submission.json`` holds; a change of its keys is another version."""
    return json.dumps(
        {
            "version": VERSION,
            "token": submission.token,
            "job_id": submission.job_id,
            "application": submission.application,
            "submitter": submission.submitter,
            "command": submission.command,
            "directory": str(submission.directory),
            "installation": submission.installation,
        }
    )


def from_json(content: bytes) -> Submission:
    """Read it, of each version up to this one; ValueError for anything else."""
    written = json.loads(content)
    try:
        if written.get("version", 0) > VERSION:
            raise ValueError(f"it is of version {written['version']}, which this Bartender does not know")
        return Submission(
            token=written["token"],
            job_id=written["job_id"],
            application=written["application"],
            submitter=written["submitter"],
            command=written["command"],
            directory=Path(written["directory"]),
            installation=written.get("installation", ""),
        )
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(f"it lacks what belongs there: {error!r}") from error


def write_down(directory: Path, submission: Submission) -> None:
    """Make the directory of a command, as a whole or not at all, and durably but for its name."""
    draft = directory.with_name(f".{directory.name}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    (draft / "room").mkdir()
    for name, size in _ROOM.items():
        (draft / "room" / name).write_text(" " * size)
    (draft / "command").write_text(_script(submission), encoding="utf-8")
    (draft / "submission.json").write_text(to_json(submission), encoding="utf-8")
    fsync(draft / "submission.json")  # the rest can be made of it again
    fsync(draft)
    draft.rename(directory)


def remove(directory: Path) -> None:
    """Remove the directory of a command; at once for who looks for it."""
    removed = directory.with_name(f".{directory.name}")
    with suppress(FileNotFoundError):
        directory.rename(removed)
    shutil.rmtree(removed, ignore_errors=True)


def is_command(name: str) -> bool:
    """Whether an entry of this name is a command's: what begins with a dot is a draft, or half removed."""
    return not name.startswith(".")


def restore(kept: Kept) -> Submission:
    """Make ready for a wrapper what a power cut may have damaged, and note durably that one may begin."""
    assert kept.submission is not None  # noqa: S101 - else nothing can be run
    script, content = kept.directory / "command", _script(kept.submission).encode()
    if not script.exists() or script.read_bytes() != content:
        draft = script.with_name("command.new")
        draft.write_bytes(content)
        draft.rename(script)  # who reads the old one goes on with it
    with suppress(FileExistsError):
        (kept.directory / "boot").symlink_to(boot_id())
    fsync(kept.directory)
    return kept.submission


def _script(submission: Submission) -> str:
    return f"{submission.command}\n"


def write_failure(directory: Path, failure: JobFailure) -> None:
    """Note why the command is ended; a long reason is cut."""
    _write(directory, "failure", f"{failure.kind}\n{failure}")


def write_no_process(directory: Path) -> None:
    """Note that the command has no wrapper and never will."""
    _write(directory, "process", "0 0")


def _write(directory: Path, name: str, text: str) -> None:
    """Write a file into the room that was kept for it, if any was; it is there as a whole or not at all."""
    size = _ROOM[name]
    content = text.encode()[:size].decode(errors="ignore").encode().ljust(size)
    room = directory / "room" / name
    room.parent.mkdir(exist_ok=True)
    # Not truncated: that would give the room away.
    with os.fdopen(os.open(room, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666), "wb") as file:
        file.write(content)
    room.rename(directory / name)
