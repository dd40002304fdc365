"""Results of commands that were not waited for, on the disk: whichever process of the API is asked has them.

``<job>.<visitor>.<values>.<id>.running`` names the process that runs the command, by its directory for
temporary files; ``….json`` has what came of it, and comes before the former goes.
"""

import hashlib
import json
import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from api.interactive.scratch import is_in_use
from flows.disk import private_files
from flows.errors import JobNotCompleted, JobNotFound, VisitorError
from flows.jobs.job import Job
from flows.local.quick_commands import Result

SECONDS = 3600.0
"""For how long results are kept."""
MOST = 100
"""How many, of all visitors; each has some MiB at most."""

_ID = re.compile("[0-9a-f]{32}")
_MOST_FILES = 100_000  # of a job, to be compared


class CommandLost(VisitorError):
    """The process that ran the command is no more, and so is the command."""


class CommandRuns(JobNotCompleted):
    """The command has not ended yet."""


class Outcome(BaseModel):
    """What came of a command: a result, or the class of an error and its sentence.

    ``files`` stands for what the job's directory held at the end, if that can be told.
    """

    application: str
    result: Result | None = None
    problem: tuple[str, str] | None = None
    files: str | None = None


class KeptResults:
    """The methods wait for the disk. ``process`` is this process's directory for temporary files."""

    def __init__(self, directory: Path, process: Path) -> None:
        self._directory = directory
        self._process = process
        private_files.make_directory(directory)

    def begin(self, job: Job, values: str) -> str:
        """Write down that a command runs here, and return its id."""
        self.sweep()
        command = uuid.uuid4().hex
        private_files.write(self._path(job, values, command, "running"), self._process.name)
        return command

    def end(self, job: Job, values: str, command: str, outcome: Outcome) -> None:
        """Write down what came of it."""
        try:
            private_files.write(self._path(job, values, command, "json"), outcome.model_dump_json())
        finally:
            self._path(job, values, command, "running").unlink(missing_ok=True)

    def outcome(self, job_id: int, command: str) -> Outcome:
        """Return what came of a command; raise CommandRuns, CommandLost or JobNotFound."""
        if _ID.fullmatch(command):
            running = next(self._directory.glob(f"{job_id}.*.{command}.running"), None)
            lost = running is not None and not self._is_run(running)
            # Only now: it may have ended meanwhile.
            for path in self._directory.glob(f"{job_id}.*.{command}.json"):
                with suppress(FileNotFoundError):
                    return Outcome.model_validate_json(path.read_bytes())
            if lost:
                raise CommandLost("The server was stopped before the command ended; send the values again.")
            if running:
                raise CommandRuns("The command has not ended yet; ask again in a few seconds.")
        raise JobNotFound(f"Job {job_id} has no such result; they are kept for {SECONDS / 60:.0f} minutes.")

    def same(self, job: Job, values: str, files: Path) -> str | None:
        """Return the id of a command with the same values that runs, or has a result that still holds."""
        for path in self._directory.glob(f"{job.id}.*.{values}.*.running"):
            if self._is_run(path):
                return path.name.split(".")[-2]
        for path in self._directory.glob(f"{job.id}.*.{values}.*.json"):
            with suppress(FileNotFoundError):
                outcome = Outcome.model_validate_json(path.read_bytes())
                if outcome.result and outcome.files and outcome.files == state_of(files):
                    return path.name.split(".")[-2]
        return None

    def sweep(self) -> None:
        """Remove what is too old; of what is too much, the oldest of whoever has the most."""
        too_old = time.time() - SECONDS
        kept: defaultdict[str, list[Path]] = defaultdict(list)
        for changed, path in sorted(self._dated("json"), reverse=True):
            if changed < too_old:
                path.unlink(missing_ok=True)
            else:
                kept[path.name.split(".")[1]].append(path)
        for _ in range(sum(map(len, kept.values())) - MOST):
            max(kept.values(), key=len).pop().unlink(missing_ok=True)
        for changed, path in self._dated("running"):
            if changed < too_old and not self._is_run(path):
                path.unlink(missing_ok=True)
        for changed, path in self._dated("new"):  # of a process that was killed while it wrote
            if changed < too_old:
                path.unlink(missing_ok=True)

    def _dated(self, ending: str) -> Iterator[tuple[float, Path]]:
        for path in self._directory.glob(f"*.{ending}"):
            with suppress(FileNotFoundError):
                yield path.stat().st_mtime, path

    def _path(self, job: Job, values: str, command: str, ending: str) -> Path:
        visitor = hashlib.sha256(job.submitter.encode(errors="surrogatepass")).hexdigest()[:16]
        return self._directory / f"{job.id}.{visitor}.{values}.{command}.{ending}"

    def _is_run(self, running: Path) -> bool:
        with suppress(FileNotFoundError):
            return is_in_use(self._process.with_name(running.read_text()))
        return False


def digest(application: str, values: dict[str, Any]) -> str:
    """Return a name for an application with these values."""
    text = json.dumps([application, values], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]


def state_of(directory: Path) -> str | None:
    """Return a name for the files of a job as they are now, None where that cannot be told."""
    state, left = hashlib.sha256(), _MOST_FILES
    try:
        for parent, names, files in os.walk(directory, onerror=_raise):
            names.sort()
            left -= len(names) + len(files)
            if left < 0:
                return None
            for path in (Path(parent, name) for name in [*names, *sorted(files)]):
                status = path.lstat()
                state.update(
                    repr((str(path), status.st_mtime_ns, status.st_size, status.st_ino)).encode(
                        errors="surrogateescape"
                    )
                )
    except OSError:
        return None
    return state.hexdigest()


def _raise(error: OSError) -> None:
    raise error
