"""What is sent to slurmrestd, and what its answers say, as pure functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt

from flows.destinations.scheduler import Submission
from flows.errors import JobFailure, Unavailable, one_line
from flows.slurm import complaints
from flows.slurm.options import SlurmRequest, account
from flows.slurm.queries import Row
from flows.slurm.references import installation_of, job_name, token_of

VERSIONS = ("v0.0.38",)
"""Versions of the API whose answers are understood, the newest first."""

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
_NOT_UNDERSTOOD = 9001
_AWAY_OR_REFUSED = frozenset({-1, 1007, 5005})
"""Slurm 22.05 says the same of a token that is wrong as of a controller that is away, and never HTTP 401."""
_OF_JOBS = range(2000, 3000)
"""Numbers of what the controller itself says of a job; others are of the way to it."""


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
    def sentence(self) -> str:
        """What it complains of, on one line."""
        said = "; ".join(dict.fromkeys(complaint.text for complaint in self.complaints))
        said = one_line(said)[:400] or f"HTTP status {self.status}"
        if any(complaint.number in _AWAY_OR_REFUSED for complaint in self.complaints):
            said += "; its controller is away, or refuses the token"
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


def newest(openapi: Mapping[str, Any]) -> str:
    """Return the newest version of the API that is offered and understood."""
    offered = {path.split("/")[2] for path in openapi.get("paths", {}) if path.startswith("/slurm/")}
    for version in VERSIONS:
        if version in offered:
            return version
    raise Unavailable(
        f"slurmrestd offers {', '.join(sorted(offered)) or 'no version of its API'}, "
        f"and only {', '.join(VERSIONS)} is understood: load that plugin of slurmrestd."
    )


def job(
    request: SlurmRequest,
    submission: Submission,
    *,
    script: str,
    environment: Mapping[str, str],
    more: Mapping[str, Any],
) -> dict[str, Any]:
    """Return the body that submits a job."""
    given = {
        "partition": request.partition,
        "time_limit": request.time,
        "cpus_per_task": request.cpus,
        "memory_per_node": request.memory,
        "gpus": None if request.gpus is None else str(request.gpus),
        "account": account(submission.submitter) if request.submitter_as_account else None,
    }
    properties = {**more, **{key: value for key, value in given.items() if value is not None}}
    properties |= {
        "name": job_name(submission),
        "current_working_directory": str(submission.directory),
        "environment": dict(environment),
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
    }
    return {"script": script, "job": properties}


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
        answer.status == 400 and _NOT_UNDERSTOOD in numbers
    )
    return complaints.of_submission(answer.sentence, refused=refused)


def queued(job: Mapping[str, Any]) -> Row:
    """Read what the controller has of a job."""
    name, reason = job["name"], job["state_reason"] or ""
    return Row(str(job["job_id"]), token_of(name), job["job_state"], reason, installation_of(name))


def accounted(job: Mapping[str, Any]) -> Row:
    """Read what accounting has of a job, as the controller would say it. Its exit codes can be wrong."""
    state = job["state"]["current"].split(" ")[0]
    signal = ((job.get("exit_code") or {}).get("signal") or {}).get("signal_id")
    reason = f"RaisedSignal:{signal}" if state == "FAILED" and signal else ""
    return Row(str(job["job_id"]), token_of(job["name"]), state, reason)


def is_over(answer: Answer) -> bool:
    """Whether a job cannot be cancelled only because it has ended meanwhile."""
    return bool(answer.complaints) and all(
        complaints.of_ended(complaint.text) for complaint in answer.complaints
    )


def has_expired(token: str, now: float) -> bool:
    """Whether the token itself says so. Its signature is slurmrestd's business."""
    try:
        claims = jwt.decode(token, options={"verify_signature": False})
        return float(claims["exp"]) <= now
    except (jwt.InvalidTokenError, KeyError, TypeError, ValueError):
        return False
