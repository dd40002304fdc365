"""What the scheduler asks of a batch system, however it is reached."""

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from flows.batch.references import Reference
from flows.batch.rows import Evidence, Row
from flows.destinations.scheduler import Status, Submission


class Cluster(Protocol):
    """All methods raise Unavailable when the cluster cannot be asked now."""

    @property
    def vanished(self) -> Status:
        """What became of a job that certainly never began, and that nobody there knows any more."""
        ...

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        """Submit a job and return its id there, now or before; None when it was cancelled before.

        ``reference`` has the directory where the job's script leaves its notes, and no id yet.
        Raises JobFailure when the batch system will never take the job.
        """
        ...

    async def queue(self, of: Collection[Reference] | None) -> Sequence[Row]:
        """Return what the controller has of these jobs, and perhaps of others; of all jobs when None."""
        ...

    async def check(self) -> None:
        """Raise Unavailable when the controller does not answer; jobs are not asked for."""
        ...

    async def evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        """Return the notes of jobs, and what accounting has of those that the controller does not know."""
        ...

    async def mark_cancelled(self, reference: Reference) -> None:
        """Leave a note after which no script of the job begins. That this fails is written to the log."""
        ...

    async def cancel(self, batch_ids: Collection[str]) -> None:
        """Cancel jobs; those that have ended meanwhile do no harm."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
