"""What Slurm's words say of a job, to us and to the visitor.

Every word of Slurm is in one of the tables; a word that is in none says nothing.
"""

from typing import Literal

from flows.batch.conclusions import CANCELLED, KILLED, failed
from flows.batch.notes import Notes
from flows.batch.rows import Phase
from flows.destinations.scheduler import Status
from flows.errors import (
    DestinationFailed,
    DestinationRefused,
    JobCancelled,
    JobFailure,
    OutOfMemory,
    TimeLimitExceeded,
)

# LAUNCH_FAILED and RECONFIG_FAIL are said of jobs that were put back into the queue, too: no proof of an end.
ACTIVE: dict[str, Literal["queued", "running"]] = {
    "PENDING": "queued",
    "CONFIGURING": "queued",
    "EXPEDITING": "queued",
    "LAUNCH_FAILED": "queued",
    "RECONFIG_FAIL": "queued",
    "REQUEUED": "queued",
    "REQUEUE_FED": "queued",
    "REQUEUE_HOLD": "queued",
    "RESV_DEL_HOLD": "queued",
    "SPECIAL_EXIT": "queued",
    "POWER_UP_NODE": "queued",
    "RUNNING": "running",
    "COMPLETING": "running",
    "RESIZING": "running",
    "SIGNALING": "running",
    "STAGE_OUT": "running",
    "STOPPED": "running",
    "SUSPENDED": "running",
}

_ENDS: dict[str, tuple[type[JobFailure], str]] = {
    "BOOT_FAIL": (DestinationFailed, "The cluster could not start a node for the job; submit it again."),
    "CANCELLED": (JobCancelled, "The job was cancelled."),
    "DEADLINE": (TimeLimitExceeded, "The job could not be ended before its deadline at the cluster."),
    "NODE_FAIL": (DestinationFailed, "The cluster's node that ran the job failed; submit it again."),
    "OUT_OF_MEMORY": (OutOfMemory, "The command needed more memory than the cluster gives it."),
    "PREEMPTED": (DestinationFailed, "Another job took the job's place at the cluster; submit it again."),
    "REVOKED": (DestinationFailed, "The cluster took the job back; submit it again."),
    "TIMEOUT": (TimeLimitExceeded, "The command ran longer than the cluster allows."),
}

BY_ITSELF = frozenset({"COMPLETED", "FAILED"})
"""Ends of the script itself: what became of the command is in its return code."""

ENDED = frozenset(_ENDS) | BY_ITSELF

_NEVER: dict[str, str] = {
    "BadConstraints": "no node has what the job asks for",
    "DependencyNeverSatisfied": "what it depends on will never happen",
    "InvalidAccount": "its account is not valid",
    "InvalidQOS": "its quality of service is not valid",
    "PartitionConfig": "it asks for more than the partition has",
    "PartitionNodeLimit": "it asks for more nodes than the partition allows",
    "PartitionTimeLimit": "it asks for more time than the partition allows",
    "ReservationDeleted": "its reservation was deleted",
    "AccountNotAllowed": "its account may not use the partition",
    "QOSNotAllowed": "its quality of service may not be used in the partition",
}
"""Reasons that waiting does not help against: somebody has to change something."""

# Blanks are underscores here.
_HELD: dict[str, str] = {
    "JobHeldAdmin": "it is held by an administrator of the cluster",
    "JobHeldUser": "it is held",
    "JobHoldMaxRequeue": "it was started too often and is held",
    "job_requeued_in_held_state": "it was put back into the queue and is held",
    "launch_failed_requeued_held": "it could not be started and is held",
    "PartitionDown": "the partition is down",
    "PartitionInactive": "the partition is inactive",
    "NodeDown": "a node that it needs is down",
    "ReqNodeNotAvail": "the nodes that it needs are not available",
}

_ORDINARY = frozenset({"", "None", "Priority", "Resources", "BeginTime", "Prolog", "Cleaning"})
"""Reasons of every job that waits for its turn."""

_BEFORE_THE_START = frozenset({"BadConstraints", "InvalidAccount", "InvalidQOS", "DependencyNeverSatisfied"})


def phase(state: str) -> Phase:
    """Return where a job stands that is in this state."""
    if state == "COMPLETING":
        return "ending"
    if state in ENDED:
        return "ended"
    return ACTIVE.get(state, "unknown")


def waiting(state: str, reason: str) -> Status:
    """Return the status of a job in one of the ``ACTIVE`` states."""
    status = ACTIVE[state]
    if state == "SUSPENDED" or state == "STOPPED":
        return Status(state=status, reason="The cluster has suspended the job; it will go on.")
    if status == "running":
        return Status(state=status)
    return Status(state=status, reason=explain(reason))


def explain(reason: str) -> str | None:
    """Return what the visitor reads of why a job waits; None when it just waits for its turn."""
    # Such as "ReqNodeNotAvail, UnavailableNodes:node1" and, since 24.11, "launch failed requeued held".
    words = reason.strip("() ").split(",")[0].split()
    word = "_".join(words)
    if word not in _HELD:
        word = words[0] if words else ""
    if word in _ORDINARY:
        return None
    if word in _HELD:
        return f"The job waits at the cluster because {_HELD[word]}."
    if word in _NEVER:
        return f"The job will not start as it is, because {_NEVER[word]} ({word}); tell the operator."
    if word.startswith(("Assoc", "QOS", "Max")):
        return f"The job waits because a limit of the cluster is reached ({word}); it may never start."
    return f"The job waits at the cluster ({reason.strip('() ')})."


def end(state: str, reason: str, notes: Notes) -> Status | None:
    """Return the status of a job that is not active; None when this is no proof of an end.

    A return code counts more than what Slurm says, since the command had come to its end then; but not more
    than a lack of memory, which may have hit a part of the command only.
    """
    if state == "OUT_OF_MEMORY":
        return failed(*_ENDS[state])
    if notes.returncode is not None and (state in _ENDS or state in BY_ITSELF):
        return Status(state="ended", returncode=notes.returncode)
    if state in _ENDS:
        return failed(*_ENDS[state])
    if state not in BY_ITSELF:
        return None
    if notes.cancelled:
        return CANCELLED
    if reason in _BEFORE_THE_START:
        return failed(DestinationRefused, f"The cluster does not take the job, because {_NEVER[reason]}.")
    if reason.startswith("RaisedSignal") or reason == "JobLaunchFailure":
        return KILLED
    return None
