"""Reports of tests: of runs that never were, and of those that Prefect's own engine ran."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
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

POLICY = RetryPolicy(retries=1_000_000, delays=(1.0, 2.0, 4.0), jitter=0.5)

INPUTS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "upload": {"job_id": ()},
    "pick_destination": {"job_id": ()},
    "submit": {"job_id": (), "destination": ("pick_destination",)},
    "poll": {"job_id": (), "destination": ("pick_destination",), "scheduler_id": ("submit",)},
}
"""Steps, and the steps that each parameter comes from."""


class Job:
    """One job; each method returns a report of it as it is then, all states so far included."""

    def __init__(self, number: int = 1, *, began: datetime | None = None) -> None:
        self.id = uuid.uuid4()
        self.began = began or datetime.now(UTC) - timedelta(seconds=5)
        self._report = RunReport(
            flow_run_id=self.id,
            name=f"wc-{number}",
            tags=("application:wc", f"submitter:{self.id}"),
            parameters={"job_id": number},
            idempotency_key=f"bartender-{self.id}",
            scheduled_on=self.began,
            states=(self.state("SCHEDULED", "Scheduled", 0, scheduled_on=self.began),),
        )

    def state(self, kind: StateType, name: str, after: float, **more: Any) -> StateReport:
        """Return a state of the run, so many seconds after it began."""
        number = derived_id(self.id, name, after)
        timestamp = self.began + timedelta(seconds=after)
        return StateReport(id=number, type=kind, name=name, timestamp=timestamp, **more)

    def waits(self) -> RunReport:
        return self._report

    def runs(self) -> RunReport:
        return self._with(self.waits(), self.state("RUNNING", "Running", 0.01))

    def runs_in(self, *steps: str) -> RunReport:
        """Return it in the last of these steps, the others completed."""
        tasks = [self._task(step, number) for number, step in enumerate(steps)]
        tasks[-1] = replace(tasks[-1], states=tasks[-1].states[:-1])
        return replace(self.runs(), tasks=tuple(tasks))

    def ends(
        self, kind: StateType = "COMPLETED", after: float = 0.5, message: str = "It ended."
    ) -> RunReport:
        tasks = tuple(self._task(step, number) for number, step in enumerate(INPUTS))
        ended = self.state(kind, kind.title(), after, message=message)
        return replace(self._with(self.runs(), ended), tasks=tasks)

    def _with(self, report: RunReport, *states: StateReport) -> RunReport:
        return replace(report, states=(*report.states, *states))

    def _task(self, step: str, number: int) -> TaskReport:
        after = 0.02 + number * 0.01
        kept = f"{self.id}/{step}"
        inputs = {
            parameter: tuple(derived_id(self.id, source) for source in sources)
            for parameter, sources in INPUTS[step].items()
        }
        names: Sequence[tuple[StateType, float, str | None]] = (
            ("PENDING", after, None),
            ("RUNNING", after + 0.001, None),
            ("COMPLETED", after + 0.002, kept),
        )
        states = (
            replace(self.state(kind, kind.title(), when, result=result), id=derived_id(self.id, step, kind))
            for kind, when, result in names
        )
        number_of = derived_id(self.id, step)
        return TaskReport(
            id=number_of, task=step, key=f"{step}-1", inputs=inputs, states=tuple(states), policy=POLICY
        )


def known(report: RunReport) -> RunReport:
    """Return it as from a worker that has heard that Prefect has it."""
    return replace(report, known=True)
