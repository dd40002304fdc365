"""What is sent to slurmrestd, and what its answers say, as pure functions: what all versions have in common.

``rest_v42`` and ``rest_v38`` have what they spell differently.
"""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from flows.batch.references import job_name
from flows.destinations.scheduler import Submission
from flows.errors import DestinationRefused, JobFailure, Unavailable, one_line
from flows.slurm import complaints
from flows.slurm.queries import Row

OURS = frozenset(
    {
        "argv",
        "array",
        "container",
        "current_working_directory",
        "environment",
        "name",
        "script",
        "standard_error",
        "standard_input",
        "standard_output",
    }
)
"""Properties of a job that would break the way jobs are submitted or found again."""

_NOTHING_FOUND = 9003
_NOT_UNDERSTOOD = range(9000, 9300)
"""Numbers of what slurmrestd says of a request that it cannot read."""
_AWAY_OR_REFUSED = frozenset({-1, 1007, 5005})
"""Slurm 22.05 says the same of a token that is wrong as of a controller that is away, and never HTTP 401."""
_OF_JOBS = range(2000, 3000)
"""Numbers of what the controller itself says of a job; others are of the way to it."""
_OVER = frozenset({2017, 2021})
"""Of a job that is not known, and of one that has ended."""

_IGNORED = "Ignoring unknown field"

_BAD_GATEWAY = 502


@dataclass(frozen=True, slots=True)
class Complaint:
    """An entry of ``errors``. The number is Slurm's, -1 when there is none."""

    number: int
    text: str


@dataclass(frozen=True, slots=True)
class Answer:
    """A JSON object that slurmrestd sent. The HTTP status alone proves nothing, neither 200 nor 500."""

    status: int
    body: Mapping[str, Any]

    @property
    def complaints(self) -> list[Complaint]:
        """What it says that went wrong; nothing for a search that found nothing."""
        read = [_complaint(entry) for entry in self.body.get("errors") or []]
        return [complaint for complaint in read if complaint.number != _NOTHING_FOUND]

    @property
    def is_good(self) -> bool:
        """Whether what was asked for is in it, and all of it."""
        return self.status == 200 and not self.complaints

    @property
    def ignored(self) -> list[str]:
        """Which fields of the request it did not know, and passed over."""
        warnings = [entry for entry in self.body.get("warnings") or [] if isinstance(entry, dict)]
        return [
            str(entry.get("source") or entry["description"]).removeprefix("#/").strip("/")
            for entry in warnings
            if str(entry.get("description")).startswith(_IGNORED)
        ]

    @property
    def sentence(self) -> str:
        """What it complains of, on one line."""
        said = "; ".join(dict.fromkeys(complaint.text for complaint in self.complaints))
        said = one_line(said)[:400] or f"HTTP status {self.status}"
        if any(complaint.number in _AWAY_OR_REFUSED for complaint in self.complaints):
            said += "; its controller is away, or refuses the token"
        elif self.status == _BAD_GATEWAY:
            said += "; its controller is away"
        return said

    def rows(self, read: Callable[[Mapping[str, Any]], Row], user: str | None) -> list[Row]:
        """Return the jobs of a user in it. Raises Unavailable when it is not a whole answer."""
        jobs = self.body.get("jobs")
        if not self.is_good or not isinstance(jobs, list):
            raise complaints.no_answer(self.sentence)
        try:
            return [read(job) for job in jobs if _may_be_of(user, job)]
        except (KeyError, TypeError, AttributeError) as error:
            raise Unavailable("What slurmrestd says of jobs is not understood.") from error


def _may_be_of(user: str | None, job: Mapping[str, Any]) -> bool:
    """Anybody can give a job the name of ours. slurmrestd may run where it does not know users' names."""
    return job.get("user_name", job.get("user")) in {user, None, "", "nobody"}


def _complaint(entry: Any) -> Complaint:
    if not isinstance(entry, dict):
        return Complaint(-1, str(entry))
    number = entry.get("error_number", entry.get("error_code"))
    words = [str(entry[key]) for key in ("description", "error") if entry.get(key)]
    return Complaint(number if isinstance(number, int) else -1, ": ".join(words) or "an error without words")


def job(
    submission: Submission,
    *,
    script: str,
    asked: Mapping[str, Any],
    environment: Any,
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body that submits a job. ``more`` are the operator's properties beside those asked for."""
    properties = {**more, **{key: value for key, value in asked.items() if value is not None}}
    properties |= {
        "name": job_name(submission),
        "current_working_directory": str(submission.directory),
        "environment": environment,
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
    }
    return {"script": script, "job": properties}


def ignored(fields: Collection[str]) -> DestinationRefused:
    """Return the error of a job that would run without something that was asked for."""
    return DestinationRefused(
        f"The cluster does not take the job: slurmrestd does not know {', '.join(sorted(fields))} and would "
        "ignore it; tell the operator."
    )


def submitted(answer: Answer) -> str:
    """Return the id of the job that was submitted; raise what kept it from being."""
    slurm_id = answer.body.get("job_id")
    # There may be complaints beside the id: of a job that is in the queue and can never start.
    if answer.status == 200 and isinstance(slurm_id, int) and slurm_id > 0:
        return str(slurm_id)
    raise _not_submitted(answer)


def _not_submitted(answer: Answer) -> JobFailure | Unavailable:
    numbers = {complaint.number for complaint in answer.complaints}
    refused = any(number in _OF_JOBS for number in numbers) or (
        answer.status >= 400 and any(number in _NOT_UNDERSTOOD for number in numbers)
    )
    return complaints.of_submission(answer.sentence, refused=refused)


def of_ended(complaint: Complaint) -> bool:
    """Whether a job cannot be cancelled only because it has ended meanwhile."""
    return complaint.number in _OVER or complaints.of_ended(complaint.text)


def has_expired(token: str, now: float) -> bool:
    """Whether the token itself says so. Its signature is slurmrestd's business."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"]) <= now
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return False
