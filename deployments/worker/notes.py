"""What there is to tell Prefect of one flow run: the states that it and its steps had, as they came."""

import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from deployments.recording.reports import (
    RetryPolicy,
    RunReport,
    StateReport,
    StateType,
    TaskReport,
    derived_id,
)
from flows.jobs.job import Job
from flows.lifecycle.flow_run import (
    flow_run_id,
    flow_run_name,
    flow_run_tags,
    how_it_ended,
    idempotency_key,
)
from flows.lifecycle.retries import RETRIES, RETRY_DELAYS, RETRY_JITTER

POLICY = RetryPolicy(retries=RETRIES, delays=tuple(RETRY_DELAYS), jitter=RETRY_JITTER)

_TICK = timedelta(microseconds=1)


_OVER = {"COMPLETED", "FAILED", "CRASHED"}


class _States(list[StateReport]):
    """States of one run, oldest first: none at the time of another."""

    __slots__ = ("_latest",)

    def __init__(self) -> None:
        super().__init__()
        self._latest: datetime | None = None

    def note(self, kind: StateType, name: str, *, timestamp: datetime | None = None, **more: Any) -> None:
        timestamp = timestamp or datetime.now(UTC)
        if self._latest is not None:
            timestamp = max(timestamp, self._latest + _TICK)
        self._latest = timestamp
        self.append(StateReport(type=kind, name=name, timestamp=timestamp, **{"id": uuid.uuid4()} | more))


class TaskNotes:
    """One run of a step. ``changed`` is called at each of its states."""

    __slots__ = ("_changed", "_inputs", "_key", "_name", "_states", "id", "is_told", "returned")

    def __init__(
        self, name: str, key: str, inputs: Mapping[str, Sequence[uuid.UUID]], changed: Callable[[], None]
    ) -> None:
        self.id = uuid.uuid4()
        self.returned: object = None
        """What it returned: by that is known which steps are given it."""
        self.is_told = False
        self._name = name
        self._key = key
        self._inputs = inputs
        self._states = _States()
        self._changed = changed
        self._states.note("PENDING", "Pending")

    def running(self) -> None:
        self._note("RUNNING", "Running")

    def awaiting_retry(self, delay: float) -> None:
        self._note("SCHEDULED", "AwaitingRetry", scheduled_on=datetime.now(UTC) + timedelta(seconds=delay))

    def retrying(self) -> None:
        self._note("RUNNING", "Retrying")

    def completed(self, returned: object, kept: str, *, cached: bool = False) -> None:
        """Note that it returned this, which is ``kept`` there; ``cached``: that it had before."""
        self.returned = returned
        untrackable = returned is None or isinstance(returned, bool)
        name = "Cached" if cached else "Completed"
        self._note("COMPLETED", name, result=kept, untrackable=untrackable)

    def failed(self, error: BaseException) -> None:
        message = f"Task run encountered an exception {type(error).__name__}: {error}"
        self._note("FAILED", "Failed", message=message)

    def crashed(self) -> None:
        self._note("CRASHED", "Crashed", message="Execution was cancelled by the runtime environment.")

    def report(self) -> TaskReport:
        return TaskReport(
            id=self.id,
            task=self._name,
            key=self._key,
            inputs=self._inputs,
            states=tuple(self._states),
            policy=POLICY,
        )

    def told(self, report: TaskReport) -> None:
        if report.states[-1].type in _OVER:
            self.is_told = True
            self._states.clear()

    def _note(self, kind: StateType, name: str, **more: Any) -> None:
        self._states.note(kind, name, **more)
        self._changed()


class RunNotes:
    """One flow run, for as long as this process has the job or has to tell of it.

    ``known``: whether Prefect has it. ``changed`` is called when there is more to tell.
    """

    __slots__ = (
        *("_changed", "_since", "_states", "_tasks", "flow_run_id", "job", "known", "version"),
        *("has_ended", "is_settled", "is_silent", "refusals"),
    )

    def __init__(self, job: Job, changed: Callable[["RunNotes"], None]) -> None:
        self.job = job
        self.flow_run_id = flow_run_id(job)
        self.known = job.recorded
        self.version = 0
        """Grows with each state."""
        self.has_ended = False
        self.is_settled = False
        """Whether nobody has the job any more: it was ended by who does not run it."""
        self.is_silent = False
        """Whether Prefect is told nothing more: an operator deleted the run, or what is told is refused."""
        self.refusals = 0
        self._changed = changed
        self._states = _States()
        self._tasks: list[TaskNotes] = []
        # By the database's clock; ours may be slow, and what follows must not seem to come before.
        self._since = min(job.created_on, datetime.now(UTC))
        if not self.known:
            # The same whoever says it: several may tell of a job that waits.
            number = derived_id(self.flow_run_id, "scheduled")
            times = {"timestamp": self._since, "scheduled_on": self._since}
            self._states.note("SCHEDULED", "Scheduled", id=number, **times)

    def _more(self) -> None:
        self.version += 1
        self._changed(self)

    def running(self) -> None:
        self._states.note("RUNNING", "Running")
        self._more()

    def running_again(self) -> None:
        """Note that the run was interrupted and goes on; to Prefect, one that it does not know begins."""
        if self.known or len(self._states) > 1:
            self._states.note("SCHEDULED", "AwaitingRetry", scheduled_on=datetime.now(UTC))
            self._states.note("PENDING", "Pending")
        self.running()

    def task(self, name: str, key: str, parameters: Mapping[str, object]) -> TaskNotes:
        """Begin to note what a step does that is given these."""
        inputs = {parameter: self._origins(value) for parameter, value in parameters.items()}
        task = TaskNotes(name, key, inputs, self._more)
        self._tasks.append(task)
        return task

    def _origins(self, value: object) -> list[uuid.UUID]:
        # As Prefect has it: of these, nobody can tell where they come from.
        if value is None or isinstance(value, bool):
            return []
        return [task.id for task in self._tasks if task.returned is value]

    def ended(self, job: Job, failure: BaseException | None = None) -> None:
        """Note how the job has ended: by its row, or by a mistake of ours that is in it."""
        kind, message = how_it_ended(job)
        if failure is not None and kind == "FAILED":
            message = f"Flow run encountered an exception: {type(failure).__name__}: {failure}"
        self.job, self.has_ended = job, True
        self._states.note(
            kind,
            kind.title(),
            id=derived_id(self.flow_run_id, "end", job.ended_on),  # whoever has to say it once more
            message=message,
        )
        self._more()

    def report(self, job: Job) -> RunReport:
        """Return all that is to be told; ``job`` is the row of now."""
        return RunReport(
            flow_run_id=self.flow_run_id,
            name=flow_run_name(job),
            tags=tuple(flow_run_tags(job, job.destination)),
            parameters={"job_id": job.id},
            idempotency_key=idempotency_key(job),
            scheduled_on=self._since,
            states=tuple(self._states),
            tasks=tuple(task.report() for task in self._tasks if not task.is_told),
            known=self.known,
        )

    def told(self, report: RunReport) -> None:
        """Forget what Prefect has heard, as most jobs wait for long; but the last state is in each report."""
        self.known = True
        heard = {state.id for state in report.states}
        last = self._states[-1]
        self._states[:] = [state for state in self._states if state is last or state.id not in heard]
        tasks = {task.id: task for task in self._tasks}
        for told in report.tasks:
            tasks[told.id].told(told)
