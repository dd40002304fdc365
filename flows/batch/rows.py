"""What a batch system has of jobs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from flows.batch.notes import Notes
from flows.batch.references import Reference
from flows.destinations.scheduler import Status

Phase = Literal["queued", "running", "ending", "ended", "unknown"]
"""Where a job stands. One that is ending still has a place of the cluster; unknown says nothing."""

ACTIVE = frozenset[Phase]({"queued", "running", "ending"})


class Row(Protocol):
    """A job as the queue or accounting tells it. Of a job that is not ours, the token is anything."""

    @property
    def batch_id(self) -> str: ...

    @property
    def token(self) -> str: ...

    @property
    def installation(self) -> str: ...

    @property
    def phase(self) -> Phase: ...

    @property
    def by_itself(self) -> bool:
        """Whether its script came to its end: what became of the command is in its return code."""
        ...

    def waiting(self) -> Status:
        """Return the status of a job in one of the ``ACTIVE`` phases."""
        ...

    def end(self, notes: Notes) -> Status | None:
        """Return the status of a job that is not active; None when this is no proof of an end."""
        ...


@dataclass(frozen=True, slots=True)
class Evidence:
    """``rows`` is None when accounting did not answer."""

    notes: Mapping[Reference, Notes]
    rows: Sequence[Row] | None
