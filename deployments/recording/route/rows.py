"""The rows that Prefect's own engine would leave of what a report says."""

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from deployments.recording import task_runs
from deployments.recording.merging import Now, Totals, totals
from deployments.recording.reports import RunReport, StateReport, TaskReport
from deployments.recording.task_runs import Results

Row = dict[str, Any]
Labels = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment:
    """What Prefect knows of the deployment that runs are of, and of all that it belongs to."""

    id: uuid.UUID
    name: str
    tags: list[str]
    labels: Labels
    parameters: dict[str, Any]
    version: str | None
    work_queue_id: uuid.UUID | None
    work_queue_name: str | None
    queue_name: str | None
    pool_id: uuid.UUID | None
    pool_name: str | None
    pool_type: str | None
    flow_id: uuid.UUID
    flow_name: str
    flow_tags: list[str]
    flow_labels: Labels
    results: Results


@dataclass(slots=True)
class Rows:
    """What one statement writes, by table."""

    flow_run: list[Row] = field(default_factory=list)
    flow_run_state: list[Row] = field(default_factory=list)
    task_run: list[Row] = field(default_factory=list)
    task_run_state: list[Row] = field(default_factory=list)
    events: list[Row] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to write."""
        return not (self.flow_run or self.task_run)


NO_DETAILS: Row = {
    "flow_run_id": None,
    "task_run_id": None,
    "child_flow_run_id": None,
    "scheduled_time": None,
    "cache_key": None,
    "cache_expiration": None,
    "deferred": False,
    "untrackable_result": False,
    "pause_timeout": None,
    "pause_reschedule": False,
    "pause_key": None,
    "run_input_keyset": None,
    "refresh_cache": None,
    "retriable": None,
    "transition_id": None,
    "task_parameters_id": None,
    "traceparent": None,
    "deployment_concurrency_lease_id": None,
}
"""What Prefect says of a state of which there is nothing to say; rows have only what differs."""

_FLOW_RUN_POLICY: Row = {
    "max_retries": 0,
    "retry_delay_seconds": 0.0,
    "retries": 0,
    "retry_delay": 0,
    "pause_keys": [],
    "resuming": False,
    "retry_type": None,
}


def flow_run_row(
    report: RunReport, deployment: Deployment, states: Sequence[StateReport | Now], tags: Sequence[str]
) -> Row:
    """Return the row of a run with all its states in order of time; the last is what it is now."""
    last, counted = states[-1], totals(states)
    return {
        **_run(last, counted),
        "id": report.flow_run_id,
        "name": report.name,
        "expected_start_time": report.scheduled_on,
        "next_scheduled_start_time": _next_start(last),
        "parameters": {**deployment.parameters, **report.parameters},
        "idempotency_key": report.idempotency_key,
        "context": {},
        "empirical_policy": _FLOW_RUN_POLICY,
        "tags": tags,
        "auto_scheduled": False,
        "flow_id": deployment.flow_id,
        "deployment_id": deployment.id,
        "deployment_version": deployment.version,
        "work_queue_id": deployment.work_queue_id,
        "work_queue_name": deployment.work_queue_name,
        "job_variables": {},
        "labels": {
            **deployment.flow_labels,
            **deployment.labels,
            "prefect.flow.id": deployment.flow_id,
            "prefect.deployment.id": deployment.id,
        },
    }


def _run(last: StateReport | Now, counted: Totals) -> Row:
    return {
        "state_id": last.id,
        "state_type": last.type,
        "state_name": last.name,
        "state_timestamp": last.timestamp,
        "run_count": counted.run_count,
        "start_time": counted.start,
        "end_time": counted.end,
        "total_run_time": _interval(counted.run_time),
    }


def _next_start(last: StateReport | Now) -> datetime | None:
    return last.scheduled_on if isinstance(last, StateReport) and last.type == "SCHEDULED" else None


def _interval(time: timedelta) -> str:
    return f"{time.total_seconds():.6f} seconds"


def flow_run_state_row(flow_run_id: uuid.UUID, state: StateReport) -> Row:
    """Return the row of one state of a flow run."""
    return {
        **_state(state),
        "flow_run_id": flow_run_id,
        "message": state.message,
        "data": None,
        "state_details": {
            **_details(flow_run_id, state),
            "deferred": False if state.name == "Scheduled" else None,
        },
    }


def _state(state: StateReport) -> Row:
    return {"id": state.id, "type": state.type, "name": state.name, "timestamp": state.timestamp}


def _details(flow_run_id: uuid.UUID, state: StateReport) -> Row:
    details: Row = {"flow_run_id": flow_run_id, "untrackable_result": state.untrackable}
    if state.scheduled_on is not None:
        details["scheduled_time"] = state.scheduled_on
    return details


def task_run_row(
    flow_run_id: uuid.UUID, task: TaskReport, states: Sequence[StateReport], attempt: int
) -> Row:
    """Return the row of a task run of the flow run's ``attempt``, counted from 1."""
    last, counted = states[-1], totals(states, is_task=True)
    return {
        **_run(last, counted),
        "id": task.id,
        "flow_run_id": flow_run_id,
        "name": task_runs.name(task),
        "expected_start_time": states[0].timestamp,
        "task_key": task.key,
        "dynamic_key": task_runs.dynamic_key(task),
        "empirical_policy": task_runs.policy(task),
        "task_inputs": task_runs.inputs(task),
        "tags": [],
        "flow_run_run_count": attempt if counted.run_count else 0,
        "labels": {},
    }


def task_run_state_row(flow_run_id: uuid.UUID, task: TaskReport, state: StateReport, results: Results) -> Row:
    """Return the row of one state of a task run."""
    return {
        **_state(state),
        "task_run_id": task.id,
        "message": state.message or "",
        "data": task_runs.result(state, results),
        "state_details": {
            **_details(flow_run_id, state),
            "task_run_id": task.id,
            "retriable": False if state.type == "FAILED" else None,
        },
    }
