"""Whether a job has ended, how, and what is said of it meanwhile: a pure function of what is known."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from flows.batch.notes import Notes
from flows.batch.rows import ACTIVE, Row
from flows.destinations.scheduler import Status
from flows.errors import CommandFailed, DestinationFailed, JobCancelled, JobFailure

VISIBLE_AFTER = 30.0
"""Seconds in which what was written on a node becomes visible elsewhere on a network filesystem."""


def failed(failure: type[JobFailure], text: str) -> Status:
    """Return the status of a job that ended so."""
    return Status(state="ended", failure=failure(text))


CANCELLED = failed(JobCancelled, "The job was cancelled.")

KILLED = failed(CommandFailed, "The job was killed at the cluster before its command came to an end.")

NO_RETURN_CODE = failed(
    DestinationFailed,
    "The job ended at the cluster without a return code: it could not start in its directory, or was killed; "
    "submit it again, and tell the operator if that does not help.",
)

LOST = failed(DestinationFailed, "The cluster does not know the job any more; submit it again.")

TO_BE_SUBMITTED_AGAIN = Status(state="lost")

Doubt = Literal["runs after its end", "without proof"]


@dataclass(frozen=True, slots=True)
class Conclusion:
    """``status`` is None when nothing is certain. ``doubt`` is what about the job is not as it should be."""

    status: Status | None
    doubt: Doubt | None = None

    @property
    def runs_on(self) -> bool:
        """Whether the job keeps a place of the cluster though its command has ended."""
        return self.doubt == "runs after its end" and self.status is not None and self.status.state == "ended"


def conclude(
    rows: Sequence[Row],
    accounted: Sequence[Row] | None,
    notes: Notes | None,
    doubted: tuple[Doubt, float] | None = None,
    *,
    lost_after: float,
    vanished: Status = TO_BE_SUBMITTED_AGAIN,
) -> Conclusion:
    """Conclude from the queue's rows of a job, accounting's (None: no answer) and its script's notes.

    ``notes`` are None when they were not looked for. ``doubted`` is the last conclusion's doubt, and for how
    many seconds there has been that one. A row of accounting counts when the queue has none and it is not of
    an active job: that is what Slurm's says for ever of one that the controller lost. ``vanished`` is what a
    job is that never began and that nobody knows.

    ==================  ===========  ==============  =======================================
    Queue               return code  in doubt for    status
    ==================  ===========  ==============  =======================================
    active              none                         queued or running; of two, the one that runs
    active              there        just now        the same: a job that ends now is not active soon
    active              there        one look before ended, with the code: the end was forgotten
    ended               there                        ended, with the code (out of memory: without)
    cancelled and such  none                         ended, as is said there
    came to its end     none, killed                 ended: killed
    came to its end     none         VISIBLE_AFTER   ended, without a return code
    no row              there                        ended, with the code
    no row              none, begun  lost_after      ended: lost
    no row              none, never  the shorter     vanished: to be submitted again, or
                        begun        of both         ended, by what the batch system is like
    no row              none, never                  ended: cancelled
                        begun,
                        cancelled
    no answer, or a     none                         nothing certain, however long
    word unknown to us
    ==================  ===========  ==============  =======================================
    """
    age: dict[Doubt, float] = {} if doubted is None else {doubted[0]: doubted[1]}
    if active := [row for row in rows if row.phase in ACTIVE]:
        return _of_active(active, notes, age.get("runs after its end"))
    notes = notes or Notes()
    ended = rows or [row for row in accounted or [] if row.phase not in ACTIVE]
    for row in ended:
        if (status := row.end(notes)) is not None:
            return Conclusion(status)
    if not ended and notes.returncode is not None:
        # The controller, which answered, does not run it, and the script came to its end.
        return Conclusion(Status(state="ended", returncode=notes.returncode))
    if ended and all(row.by_itself for row in ended):
        return _in_time(NO_RETURN_CODE, age, VISIBLE_AFTER)
    if not ended and accounted is not None:
        if not notes.begun and notes.cancelled:
            return Conclusion(CANCELLED)
        if not notes.begun:
            return _in_time(vanished, age, min(VISIBLE_AFTER, lost_after))
        return _in_time(LOST, age, lost_after)
    return Conclusion(None)


def _of_active(rows: Sequence[Row], notes: Notes | None, age: float | None) -> Conclusion:
    said = [row.waiting() for row in rows]
    status = next((status for status in said if status.state == "running"), said[0])
    if status.state == "queued" or (notes is None and age is None):
        return Conclusion(status)
    if notes is None:
        return Conclusion(status, "runs after its end")
    if notes.returncode is None:
        return Conclusion(status)
    if age is not None:  # a job that was preempted, or ends now, runs no more by then
        status = Status(state="ended", returncode=notes.returncode)
    return Conclusion(status, "runs after its end")


def _in_time(status: Status, age: dict[Doubt, float], patience: float) -> Conclusion:
    if age.get("without proof", 0.0) <= patience:
        return Conclusion(None, "without proof")
    # What is lost is submitted again under the same token: that begins without a doubt.
    return Conclusion(status, None if status.state == "lost" else "without proof")
