"""Which errors of Slurm's commands pass by themselves, and which are the last word."""

from flows.batch import complaints
from flows.batch.complaints import sentence
from flows.destinations.host import Completed
from flows.errors import DestinationRefused, JobFailure, Unavailable

_REFUSALS = (
    "submission failed",  # the controller's answer, or that of a site's own rules
    "invalid",
    "unrecognized option",
    "requires an argument",
    "is ambiguous",
    "cannot be satisfied",
    "not permitted",
    "unable to open file",
)
"""Parts of what sbatch says when it will never take a job like this one, in small letters."""

_PASSING = (
    "unable to contact",
    "can't be reached now",  # of another cluster; "or it is an invalid entry" follows
    "timed out",
    "authentication",
    "munge",
    "connection",
    "communication",
    "temporarily",
    "standby mode",
    "inactive or drain",
    "configuration source",
    "zero bytes",
    "i/o error",
    "no space left",
    "maxsubmitjob",  # the account has as many jobs waiting as it may have
    "submitjobslimit",
)
"""Parts of what they say when something is away or full, in small letters. These go first."""


def of_sbatch(completed: Completed) -> JobFailure | Unavailable:
    """Return the error of a submission that failed."""
    said = sentence(completed)
    return of_submission(said, refused=any(part in said.lower() for part in _REFUSALS))


def of_submission(said: str, *, refused: bool) -> JobFailure | Unavailable:
    """Return the error of a submission of which this was said; ``refused`` if it is not one that passes."""
    if refused and not any(part in said.lower() for part in _PASSING):
        return DestinationRefused(f"The cluster does not take the job: {said.rstrip('.')}.")
    return Unavailable(f"Slurm does not take the job now ({said}).")


def no_answer(said: str) -> Unavailable:
    """Return the error of a question of which this was said in place of an answer."""
    return complaints.no_answer("Slurm", said)


def accounting_is_off(stderr: str) -> bool:
    """Whether sacct says that this cluster keeps no records."""
    return "accounting storage is disabled" in stderr.lower()


def of_ended_job(completed: Completed) -> bool:
    """Whether scancel complained only of a job that has ended meanwhile."""
    return of_ended(sentence(completed))


def of_ended(said: str) -> bool:
    """Whether this is said of a job that has ended meanwhile."""
    return "invalid job id" in said.lower() or "already" in said.lower()
