"""What schedulers of Slurm ask of a cluster, however it is reached."""

from collections.abc import Collection, Mapping
from typing import Protocol

from flows.destinations.scheduler import Submission
from flows.slurm.queries import Evidence, Row
from flows.slurm.references import Reference


class Cluster(Protocol):
    """All methods raise Unavailable when the cluster cannot be asked now."""

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        """Submit a job and return Slurm's id of it, now or before; None when it was cancelled before.

        ``reference`` has the directory where the job's script leaves its notes, and no id yet.
        Raises JobFailure when Slurm will never take the job.
        """
        ...

    async def queue(self, of: Collection[Reference] | None) -> list[Row]:
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

    async def cancel(self, slurm_ids: Collection[str]) -> None:
        """Cancel jobs; those that have ended meanwhile do no harm."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
