"""How a job is named: to the batch system, and in the job's row."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from flows.destinations.filesystem import guard
from flows.destinations.scheduler import Submission

_MAX_APPLICATION = 40

_NOWHERE = "/dev/null/nowhere"


@dataclass(frozen=True, slots=True)
class Reference:
    """A job at a batch system.

    Ids are given away again, by Slurm when it loses jobs, so the token in the job's name is what counts. The
    directory is beside the notes of its script. Only the token is known of a job whose submission was
    interrupted; while it is submitted, there is no id yet.
    """

    token: str
    batch_id: str | None = None
    directory: str | None = None

    @classmethod
    def parse(cls, scheduler_id: str) -> Self:
        """Read what ``str`` made, or a token."""
        batch_id, separator, rest = scheduler_id.partition(":")
        if not separator:
            return cls(scheduler_id)
        token, _, directory = rest.partition(":")
        return cls(token, batch_id or None, directory)

    def __str__(self) -> str:
        if self.batch_id is None or self.directory is None:
            return self.token
        return f"{self.batch_id}:{self.token}:{self.directory}"

    @property
    def guard(self) -> str:
        """Where the job's script leaves its notes; where nothing can be, when that is not known."""
        return _NOWHERE if self.directory is None else str(guard(Path(self.directory), self.token))


def job_name(submission: Submission) -> str:
    """Return a name that tells an operator the job, and us the installation and the token."""
    installation = f".{submission.installation}" if submission.installation else ""
    return f"{_job(submission)}{installation}.{submission.token}"


def job_names(submission: Submission) -> str:
    """Return the names that a job can have there, with commas: once they had no installation."""
    return ",".join(dict.fromkeys([job_name(submission), f"{_job(submission)}.{submission.token}"]))


def _job(submission: Submission) -> str:
    application = re.sub(r"[^A-Za-z0-9_-]", "_", submission.application)[:_MAX_APPLICATION]
    return f"{application}-{submission.job_id}"


def token_of(name: str) -> str:
    """Return the token in a job's name; of a job that is not ours, whatever is there."""
    return name.rpartition(".")[2]


def installation_of(name: str) -> str:
    """Return the installation in a job's name, "" when there is none; of a job that is not ours, anything."""
    return name.split(".")[1] if name.count(".") == 2 else ""
