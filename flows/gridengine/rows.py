"""What Grid Engine has of a job, and what that says."""

import re
from dataclasses import dataclass
from typing import Literal

from flows.batch.conclusions import CANCELLED, KILLED, NO_RETURN_CODE, failed
from flows.batch.notes import Notes
from flows.batch.rows import Phase
from flows.destinations.scheduler import Status
from flows.errors import TimeLimitExceeded

_LIMIT = failed(TimeLimitExceeded, "The command ran longer, or used more, than the cluster allows.")
_SOFT_LIMIT = failed(TimeLimitExceeded, "The command ran longer than the cluster allows.")

_ENFORCED = "37"
"""Grid Engine ended it for h_rt, h_cpu or h_vmem."""
_AFTER_THE_JOB = "100"
"""A signal ended the script: deleted, killed, or over a soft limit, which is SIGUSR1."""
_SIGUSR1 = "138"


@dataclass(frozen=True, slots=True)
class Queued:
    """A job in the queue. ``state`` are qstat's letters; ``error`` is why it could not be started."""

    batch_id: str
    token: str
    installation: str
    state: str
    error: str = ""

    @property
    def phase(self) -> Phase:
        if "d" in self.state:
            return "ending"
        if "q" in self.state:
            return "queued"
        if set(self.state) & set("rtsST"):
            return "running"
        return "unknown"

    @property
    def by_itself(self) -> bool:
        return False

    def waiting(self) -> Status:
        return Status(state=self._state(), reason=self._reason())

    def _state(self) -> Literal["queued", "running"]:
        return "queued" if self.phase == "queued" else "running"

    def _reason(self) -> str | None:
        if "E" in self.state:
            said = f" ({self.error})" if self.error else ""
            return f"The cluster could not start the job{said} and does not try again; tell the operator."
        if "h" in self.state:
            return "The job waits at the cluster because it is held."
        if set(self.state) & set("sST"):
            return "The cluster has suspended the job; it will go on."
        return None

    def end(self, notes: Notes) -> Status | None:
        return None


@dataclass(frozen=True, slots=True)
class Accounted:
    """A job in accounting. ``failed`` is the number there: 0 where the script came to its end."""

    batch_id: str
    token: str
    installation: str
    failed: str
    exit_status: str
    said: str = ""

    @property
    def phase(self) -> Phase:
        return "ended"

    @property
    def by_itself(self) -> bool:
        return self.failed == "0"

    def waiting(self) -> Status:
        return NO_RETURN_CODE

    def end(self, notes: Notes) -> Status | None:
        if notes.returncode is not None:
            return Status(state="ended", returncode=notes.returncode)
        if self.failed == _ENFORCED:
            return _LIMIT
        if notes.cancelled:
            return CANCELLED
        if self.failed == _AFTER_THE_JOB:
            return _SOFT_LIMIT if self.exit_status == _SIGUSR1 else KILLED
        return None if self.by_itself else NO_RETURN_CODE


def number(text: str) -> str:
    """Return the number that a value of qacct begins with, such as 137 of "137 (Killed)"."""
    found = re.match(r"\d+", text.strip())
    return found.group() if found else ""
