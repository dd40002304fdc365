"""Task runs and their events, as Prefect's engine describes them: for both recorders."""

import uuid
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from typing import Any, Literal

from deployments.recording.merging import totals
from deployments.recording.reports import StateReport, TaskReport

Json = dict[str, Any]

LASTING = timedelta(seconds=1)
"""A state that was over sooner has no event: most steps last for milliseconds."""

LONGEST_MESSAGE = 100_000
"""Of an event, in characters."""

_USUAL = {"Pending", "Running", "Completed", "Cached"}


@dataclass(frozen=True, slots=True)
class Results:
    """The block that keeps what steps returned, None for none, and the version of Prefect that reads it."""

    block_id: uuid.UUID | None
    version: str


def name(task: TaskReport) -> str:
    """Return what Prefect's engine calls a task run."""
    return f"{task.task}-{dynamic_key(task)[:3]}"


def dynamic_key(task: TaskReport) -> str:
    """Return what tells the runs of a task apart."""
    return str(task.id)


def policy(task: TaskReport) -> Json:
    """Return how often a task is tried again."""
    return {
        "max_retries": 0,
        "retry_delay_seconds": 0.0,
        "retries": task.policy.retries,
        "retry_delay": list(task.policy.delays),
        "retry_jitter_factor": task.policy.jitter,
    }


def inputs(task: TaskReport) -> Json:
    """Return where a task's arguments come from."""
    return {
        parameter: [{"input_type": "task_run", "id": str(source)} for source in sources]
        for parameter, sources in task.inputs.items()
    }


def result(state: StateReport, results: Results) -> Json | None:
    """Return where Prefect finds the result of a step; None where there is none."""
    if state.result is None or results.block_id is None:
        return None
    return {
        "expiration": None,
        "serializer": {"type": "json"},
        "storage_key": state.result,
        "prefect_version": results.version,
        "storage_block_id": str(results.block_id),
    }


def is_worth_telling(states: Sequence[StateReport]) -> bool:
    """Whether something happened in a task run but that a step began and ended at once."""
    return any(state.name not in _USUAL for state in states) or bool(_lasting(states))


def _lasting(states: Sequence[StateReport]) -> set[uuid.UUID]:
    return {state.id for state, after in pairwise(states) if after.timestamp - state.timestamp >= LASTING}


def events(
    task: TaskReport,
    states: Sequence[StateReport],
    told: Collection[uuid.UUID],
    *,
    attempt: int,
    related: Sequence[Json],
    results: Results,
    orchestration: Literal["client", "server"],
) -> Iterator[Json]:
    """Yield an event for each state that lasted, and for the last one, but for those ``told`` before.

    Prefect's server makes the rows of a task run from those of the orchestration "client".
    """
    lasting = _lasting(states) | {states[-1].id}
    before: StateReport | None = None
    follows: str | None = None  # only what has an event: automations wait for that for a quarter of an hour
    for number, state in enumerate(states):
        if state.id in lasting and state.id not in told:
            run = _run(task, states[: number + 1], attempt)
            yield {
                "id": str(state.id),
                "occurred": state.timestamp.isoformat(),
                "event": f"prefect.task-run.{state.name}",
                "resource": {
                    "prefect.resource.id": f"prefect.task-run.{task.id}",
                    "prefect.resource.name": run["name"],
                    "prefect.run-count": str(run["run_count"]),
                    **resource_of_state(state),
                    "prefect.orchestration": orchestration,
                },
                "related": list(related),
                "payload": {
                    "intended": {"from": before and before.type, "to": state.type},
                    "initial_state": before and _state(before),
                    "validated_state": {**_state(state), "data": result(state, results)},
                    "task_run": run,
                },
                "follows": follows,
            }
            follows = str(state.id)
        before = state


def resource_of_state(state: StateReport) -> Json:
    """Return what the resource of an event says of the state that a run came to."""
    return {
        "prefect.state-message": _short(state.message) or "",
        "prefect.state-name": state.name,
        "prefect.state-timestamp": state.timestamp.isoformat(),
        "prefect.state-type": state.type,
    }


def _short(message: str | None) -> str | None:
    return message and message[:LONGEST_MESSAGE]


def _state(state: StateReport) -> Json:
    details: Json = {}
    if state.scheduled_on is not None:
        details["scheduled_time"] = state.scheduled_on.isoformat()
    if state.untrackable:
        details["untrackable_result"] = True
    return {
        "type": state.type,
        "name": state.name,
        "message": _short(state.message) or "",
        "state_details": details,
    }


def _run(task: TaskReport, states: Sequence[StateReport], attempt: int) -> Json:
    counted = totals(states, is_task=True)
    run: Json = {
        "name": name(task),
        "task_key": task.key,
        "dynamic_key": dynamic_key(task),
        "empirical_policy": policy(task),
        "tags": [],
        "labels": {},
        "task_inputs": inputs(task),
        "run_count": counted.run_count,
        "flow_run_run_count": attempt if counted.run_count else 0,
        "expected_start_time": states[0].timestamp.isoformat(),
        "total_run_time": counted.run_time.total_seconds(),
    }
    if counted.start is not None:
        run["start_time"] = counted.start.isoformat()
    if counted.end is not None:
        run["end_time"] = counted.end.isoformat()
    return run
