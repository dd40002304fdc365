"""Commands on this machine that outlive the process that started them.

Each has a directory, named by its token, that also is the proof of what became of it::

    submission.json   what is to run
    command           the shell script of it
    boot              names the machine's boot in which the wrapper was started, as a symbolic link
    started/          made by the command's wrapper: only the first wrapper of a token gets further
    process           "<pid> <start time>" of the wrapper, in clock ticks since boot (proc(5), stat field 22)
    returncode        of the command, once it has ended
    failure           why it was ended by us, if it was
    room/             keeps place on the disk for the last three, which are made of files in it

The wrapper leads a session of its own. Linux only: ends are learned from pidfds, without polling. A power cut
leaves the first as a whole, and ``boot`` where the command can have begun; all else may be missing or empty.
"""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from flows.destinations.scheduler import Submission
from flows.disk.durability import fsync
from flows.errors import CommandFailed, DestinationFailed, InternalError, JobFailure
from flows.local.environment import clean_environment
from flows.local.processes import boot_id, end_session, exit_of, is_alive, is_shortage

logger = logging.getLogger(__name__)

SHELL = "/bin/sh"
MARK = "BARTENDER_COMMAND"
"""Variable that tells a command's processes wherever they went; its value is the token."""

# $1 is the command's directory here, $2 the job's. The last line ends whatever the command left running. When
# it is us who end the command, the rest of the session has its grace first, and the wrapper waits for us.
_WRAPPER = """
mkdir "$1/started" 2>/dev/null || { [ -d "$1/started" ] && exit 0; exit 75; }
read -r stat </proc/$$/stat
set -- "$1" "$2" $stat
printf '%s %s ' $$ ${24} 1<>"$1/room/process" && mv "$1/room/process" "$1/process" || exit 75
[ ! -e "$1/failure" ] || exit 0
trap : TERM
if cd "$2"; then
    "$0" "$1/command" >stdout.txt 2>stderr.txt </dev/null
    code=$?
    echo -n $code >returncode
else
    code=127
fi
[ ! -e "$1/failure" ] || exec sleep 60
printf '%s ' $code 1<>"$1/room/returncode" && mv "$1/room/returncode" "$1/returncode"
kill -9 0
"""

_ROOM = {"process": 64, "returncode": 64, "failure": 1024}  # bytes

_NOT_STARTED = 75  # EX_TEMPFAIL of sysexits.h


@dataclass(frozen=True, slots=True)
class End:
    """How a command ended: with a return code, or by a failure."""

    returncode: int | None
    failure: JobFailure | None


class LocalCommands:
    """The commands of one destination that this worker has.

    Those of other workers of this machine, in the directories beside, can be followed and ended too.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._not_noted: dict[str, JobFailure] = {}

    def add(self, submission: Submission) -> None:
        """Write the command down, durably; a token that is there is left as it is, if it can be run."""
        token = submission.token
        if not (self.exists(token) and self.can_run(token)):
            self.forget(token)
            self._write_down(submission)
        fsync(self._at(token).parent)

    def _write_down(self, submission: Submission) -> None:
        draft = self._directory / f".{submission.token}"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        (draft / "room").mkdir()
        for name, size in _ROOM.items():
            (draft / "room" / name).write_text(" " * size)
        (draft / "command").write_text(submission.command + "\n", encoding="utf-8")
        content = asdict(submission) | {"directory": str(submission.directory)}
        (draft / "submission.json").write_text(json.dumps(content), encoding="utf-8")
        fsync(draft / "submission.json")  # the rest can be made of it again
        fsync(draft)
        draft.rename(self._directory / submission.token)

    def tokens(self) -> list[str]:
        """Return the names of all that were added and not forgotten, whatever is in them."""
        if not self._directory.is_dir():
            return []
        # What begins with a dot is a draft, or half removed.
        return [path.name for path in self._directory.iterdir() if not path.name.startswith(".")]

    def waiting(self) -> list[str]:
        """Return the tokens of those that have not started."""
        return [token for token in self.tokens() if not self.has_started(token)]

    def submissions(self) -> list[Submission]:
        """Return all that were added and not forgotten, by job; those that cannot be read are left out."""
        found = [submission for token in self.tokens() if (submission := self._read(token)) is not None]
        return sorted(found, key=lambda submission: submission.job_id)

    def _at(self, token: str) -> Path:
        own = self._directory / token
        if own.is_dir():
            return own
        others = self._directory.parents[1].glob(f"*/{self._directory.name}/{token}")
        return next(others, own)

    def _read(self, token: str) -> Submission | None:
        directory = self._at(token)
        try:
            content = json.loads((directory / "submission.json").read_bytes())
            return Submission(**content | {"directory": Path(content["directory"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            if isinstance(error, OSError) and is_shortage(error):
                raise
            logger.exception("%s holds no submission that can be read", directory)
            return None

    def exists(self, token: str) -> bool:
        """Whether the command was added and not forgotten."""
        return self._at(token).is_dir()

    def has_started(self, token: str) -> bool:
        """Whether a wrapper has taken the command, or may have before a power cut; no other ever will."""
        return (self._at(token) / "started").is_dir() or self._was_restarted(token)

    def can_run(self, token: str) -> bool:
        """Whether the command has started, or could: what was written down of it can be read."""
        return self.has_started(token) or self._read(token) is not None

    def _was_restarted(self, token: str) -> bool:
        """Whether the machine was, since the command was given to a wrapper."""
        try:
            return str((self._at(token) / "boot").readlink()) != boot_id()
        except FileNotFoundError:  # not given to one yet, or by an earlier version
            return False

    def started_at(self, token: str) -> float:
        """Return when the command started, in seconds since the epoch."""
        try:
            return (self._at(token) / "started").stat().st_mtime
        except FileNotFoundError:  # its wrapper is about to make it
            return time.time()

    async def launch(self, token: str, environment: Mapping[str, str]) -> bool:
        """Start the command unless it was started before; False when what was written down cannot be read.

        OSError when the machine cannot just now.
        """
        if (submission := self._read(token)) is None:
            return False
        self._children[token] = await asyncio.to_thread(self._spawn, submission, environment)
        return True

    def _spawn(self, submission: Submission, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
        directory = self._at(submission.token)
        _restore(directory / "command", f"{submission.command}\n".encode())
        with suppress(FileExistsError):
            (directory / "boot").symlink_to(boot_id())
        fsync(directory)
        arguments: list[str | Path] = [
            SHELL,
            "-c",
            _WRAPPER,
            SHELL,
            directory,
            submission.directory,
        ]
        return subprocess.Popen(
            arguments,
            cwd="/",
            env=clean_environment({**environment, MARK: submission.token}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    async def wait(self, token: str) -> End:
        """Wait for the end of a command that has started, by whichever process; nothing of it is left then.

        OSError when the machine cannot tell just now.
        """
        child = self._children.get(token)
        if child is not None:
            await exit_of(child.pid, None)
            status = child.wait()  # returns at once: the process has ended
            del self._children[token]
            if status == _NOT_STARTED:
                return End(None, InternalError("The command could not be started; submit it again later."))
            # A second wrapper gives way to the first one, which then is what to wait for.
        if (process := await self._process(token)) is not None and self._returncode(token) is None:
            await exit_of(*process)
        end = End(self._returncode(token), self._failure(token))
        if end.failure is not None and not self._was_restarted(token):
            # Its wrapper was killed, or whoever ended it was interrupted: the rest of it may go on.
            await end_session(None, self._mark(token))
        return end

    @staticmethod
    def _mark(token: str) -> str:
        return f"{MARK}={token}"

    async def _process(self, token: str) -> tuple[int, int] | None:
        if self._was_restarted(token):
            return None
        # The wrapper writes it right after it has made `started`; it was killed if it does not.
        for _ in range(40):
            try:
                pid, start_time = (self._at(token) / "process").read_text().split()
            except (FileNotFoundError, ValueError):
                await asyncio.sleep(0.05)
            else:
                return int(pid), int(start_time)
        return None

    def _returncode(self, token: str) -> int | None:
        try:
            return int((self._at(token) / "returncode").read_text())
        except (FileNotFoundError, ValueError):
            return None

    def _failure(self, token: str) -> JobFailure | None:
        if (noted := self.ending(token) or self._not_noted.get(token)) is not None:
            return noted
        if self._returncode(token) is not None:
            return None
        if self._was_restarted(token):
            return DestinationFailed("The machine was restarted before the end of the command was certain.")
        if (self._at(token) / "failure").exists():  # empty, by an earlier version
            return InternalError("The command was ended, and the disk had no room for the reason.")
        return CommandFailed("The command was killed before it could end by itself.")

    def ending(self, token: str) -> JobFailure | None:
        """Return why somebody began to end the command, who may have been interrupted in it."""
        try:
            text = (self._at(token) / "failure").read_text(encoding="utf-8", errors="replace").rstrip()
        except FileNotFoundError:
            return None
        kind, _, reason = text.partition("\n")
        return JobFailure.of_kind(kind, reason) if kind else None

    async def end(self, token: str, failure: JobFailure) -> None:
        """End the command and all that it started; one that has not started never will.

        OSError when the machine cannot just now. What was begun by then is done; do it again.
        """
        directory = self._at(token)
        if not directory.is_dir() or self._returncode(token) is not None:
            return
        self._note(token, failure)
        try:
            (directory / "started").mkdir()
        except FileExistsError:
            process = await self._process(token)
            # The session of a wrapper that is gone may be somebody else's by now.
            leader = process if process is not None and is_alive(*process) else None
            await end_session(leader, self._mark(token))
        else:
            _write(directory, "process", "0 0")

    def _note(self, token: str, failure: JobFailure) -> None:
        if self.ending(token) is not None:
            return  # by whoever was first
        try:
            _write(self._at(token), "failure", f"{failure.kind}\n{failure}")
        except OSError as error:
            if is_shortage(error):
                raise
            # An earlier version kept no room for it. To end the command may be what makes room.
            logger.exception("Why command %s is ended cannot be noted; it is ended all the same", token)
            self._not_noted[token] = failure

    def forget(self, token: str) -> None:
        """Remove the command's directory."""
        self._not_noted.pop(token, None)
        directory = self._at(token)
        removed = directory.with_name(f".{token}")
        with suppress(FileNotFoundError):
            directory.rename(removed)
        shutil.rmtree(removed, ignore_errors=True)


def _restore(file: Path, content: bytes) -> None:
    """Write the file again if a power cut has damaged it."""
    if not file.exists() or file.read_bytes() != content:
        draft = file.with_name(f"{file.name}.new")
        draft.write_bytes(content)
        draft.rename(file)  # who reads the old one goes on with it


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
