"""What Prefect is told of the runs of jobs: words that those who run them and those who record them share.

Nothing here knows Prefect. A report says all that is known of a run so far, so a later one contains the
earlier one and repeating it changes nothing. That needs ids that are the same each time: ``derived_id``.
"""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal, Protocol

StateType = Literal[
    "SCHEDULED",
    "PENDING",
    "RUNNING",
    "COMPLETED",
    "FAILED",
    "CRASHED",
    "CANCELLING",
    "CANCELLED",
    "PAUSED",
]

FINAL: frozenset[StateType] = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})

MOST_RUNS = 100
"""That one call of ``Recorder.record`` may tell of."""


def derived_id(of: uuid.UUID, *parts: object) -> uuid.UUID:
    """Return the id of a part of ``of``: of a task run in a flow run, of a state of either.

    What another process or another attempt says of the same run needs other ``parts``, such as the number of
    the worker's process and of the attempt.
    """
    return uuid.uuid5(of, "/".join(map(str, parts)))


@dataclass(frozen=True, slots=True, kw_only=True)
class StateReport:
    """A state that a flow run or a task run had.

    ``name`` is one of Prefect's for the type: Scheduled, AwaitingRetry, Pending, Running, Retrying,
    Completed, Cached, Failed, Crashed, Cancelled. No two states of a run have one timestamp; all have a zone.
    """

    id: uuid.UUID
    type: StateType
    name: str
    timestamp: datetime
    message: str | None = None
    scheduled_on: datetime | None = None
    """When a run that is Scheduled or AwaitingRetry is to begin."""
    result: str | None = None
    """Where the result of a Completed or Cached step is kept, below the directory of results."""
    untrackable: bool = False
    """Whether what was returned is None or a bool, whose way through the flow Prefect does not follow."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """How often a step is tried again, and after how many seconds; the last delay is repeated."""

    retries: int
    delays: tuple[float, ...]
    jitter: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskReport:
    """One run of a step. A flow run that is run again has new ones for all its steps."""

    id: uuid.UUID
    task: str
    """The step's name."""
    key: str
    """Prefect's ``task_key`` of the step."""
    inputs: Mapping[str, Sequence[uuid.UUID]]
    """For each of its parameters, the task runs whose results it is; none for what the flow was given."""
    states: tuple[StateReport, ...]
    """All of them, oldest first, at least one. Counts and times are taken from them."""
    policy: RetryPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """One flow run of a job. It has the job's token as its id."""

    flow_run_id: uuid.UUID
    name: str
    tags: tuple[str, ...]
    parameters: Mapping[str, object]
    idempotency_key: str
    scheduled_on: datetime
    """When it was to begin."""
    states: tuple[StateReport, ...]
    """Those that this process knows of, oldest first, at least one. Counts and times are taken from them and
    from those that Prefect was told before."""
    tasks: tuple[TaskReport, ...] = ()
    known: bool = False
    """Whether an answer has said that Prefect has it. Then it is not made anew after somebody deleted it."""


class Verdict(StrEnum):
    """What became of a report."""

    WRITTEN = "written"
    """The flow run's state is the report's last one."""
    OLDER = "older"
    """Somebody else, such as an operator, gave it a newer state, which it keeps."""
    DELETED = "deleted"
    """It was known, and is not there any more."""
    CANCELLING = "cancelling"
    """It is to be cancelled, which a report of its end settles; any other leaves it as it is."""
    CANCELLED = "cancelled"
    """Somebody else said that it is cancelled, and it stays so."""
    REFUSED = "refused"
    """It never can be written as it is; ``Answer.text`` says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of one report. Also of those that are not written, the task runs may be."""

    verdict: Verdict
    text: str = field(default="")


class Recorder(Protocol):
    """Tells Prefect of runs."""

    async def record(self, reports: Sequence[RunReport]) -> Sequence[Answer]:
        """Return what became of each report, in their order; at most MOST_RUNS, each of another run.

        Raises Unavailable or Refused of ``flows.errors`` when the server is away or does not let us in: then
        any of them may have been written, and all have to be told again.
        """
        ...
