"""What is to be written for a report, given what Prefect has of its run."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from deployments.recording import task_runs
from deployments.recording.merging import Now, additions, verdict
from deployments.recording.reports import RunReport, StateReport, TaskReport, Verdict
from deployments.recording.route import events, rows
from deployments.recording.route.delivery import Delivery
from deployments.recording.route.rows import Deployment, Row, Rows


@dataclass(slots=True)
class Told:
    """What Prefect has of a run; states are in order of time."""

    now: Now | None
    tags: list[str] = field(default_factory=list)
    states: list[Now] = field(default_factory=list)
    tasks: dict[uuid.UUID, list[Now]] = field(default_factory=lambda: defaultdict(list))


class Plan:
    """Collects what one statement is to write, and what is to be said of it afterwards."""

    def __init__(self, deployment: Deployment, delivery: Delivery) -> None:
        self._deployment = deployment
        self._delivery = delivery
        self.rows = Rows()
        self.events: list[Row] = []
        self.verdicts: dict[uuid.UUID, Verdict] = {}

    def add(self, report: RunReport, told: Told | None) -> None:
        """Take a report in; ``told``: None when Prefect has no such run."""
        decided = self._verdict(report, told)
        self.verdicts[report.flow_run_id] = decided
        if decided is Verdict.DELETED:
            return
        told = told or Told(None)
        history: list[StateReport | Now] = list(told.states)
        tags = list(dict.fromkeys([*told.tags, *report.tags, *self._deployment.tags]))
        if decided is Verdict.WRITTEN:
            history += self._add_run(report, told, tags)
        for task in report.tasks:
            self._add_task(report, task, told.tasks.get(task.id, []), history, tags)

    def _verdict(self, report: RunReport, told: Told | None) -> Verdict:
        if told is None:
            return Verdict.DELETED if report.known else Verdict.WRITTEN
        if told.now is None:
            return Verdict.WRITTEN
        return verdict(report.states, told.now, {state.id for state in told.states})

    def _add_run(self, report: RunReport, told: Told, tags: Sequence[str]) -> list[StateReport]:
        new = additions(report.states, told.now, {state.id for state in told.states})
        if not new:
            return new
        self.rows.flow_run.append(
            rows.flow_run_row(report, self._deployment, [*told.states, *new], tags),
        )
        self.rows.flow_run_state += [rows.flow_run_state_row(report.flow_run_id, state) for state in new]
        run_count = sum(state.type == "RUNNING" for state in told.states)
        related = events.related_to_flow_run(self._deployment, tags)
        self._tell(events.of_flow_run(report, new, told.now, run_count=run_count, related=related))
        return new

    def _add_task(
        self,
        report: RunReport,
        task: TaskReport,
        told: Sequence[Now],
        history: Iterable[StateReport | Now],
        tags: Sequence[str],
    ) -> None:
        ids = {state.id for state in told}
        new = additions(task.states, told[-1] if told else None, ids)
        if not new:
            return
        states = [state for state in task.states if state.id in ids] + new if told else new
        began = states[0].timestamp
        attempt = sum(state.type == "RUNNING" and state.timestamp <= began for state in history) or 1
        results = self._deployment.results
        self.rows.task_run.append(rows.task_run_row(report.flow_run_id, task, states, attempt))
        self.rows.task_run_state += [
            rows.task_run_state_row(report.flow_run_id, task, state, results) for state in new
        ]
        if self._delivery.by_pipeline or task_runs.is_worth_telling(states):
            related = events.related_to_task_run(report, self._deployment, tags)
            self._tell(
                task_runs.events(
                    task,
                    states,
                    ids,
                    attempt=attempt,
                    related=related,
                    results=results,
                    orchestration="server",
                )
            )

    def _tell(self, happened: Iterable[Row]) -> None:
        for event in happened:
            self.events.append(event)
            if self._delivery.by_us:
                self.rows.events.append(events.row(event))
