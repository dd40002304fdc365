"""The events of runs that were told of: one for each state, as Prefect's own server makes them."""

import uuid
from collections.abc import Iterator, Sequence
from datetime import timedelta

from deployments.recording.merging import Now
from deployments.recording.reports import RunReport, StateReport
from deployments.recording.route.rows import Deployment, Row
from deployments.recording.task_runs import LONGEST_MESSAGE, resource_of_state

_TIGHT = timedelta(minutes=5)
"""States that are further apart need no word on which came first."""


def related_to_flow_run(deployment: Deployment, tags: Sequence[str]) -> list[Row]:
    """Return what an event of a flow run is related to."""
    return [
        *_belongings(deployment, pool_type=True),
        *_tags({*tags, *deployment.tags, *deployment.flow_tags}),
    ]


def related_to_task_run(report: RunReport, deployment: Deployment, tags: Sequence[str]) -> list[Row]:
    """Return what an event of a task run is related to."""
    return [
        _related("flow-run", report.flow_run_id, report.name),
        *_belongings(deployment, pool_type=False),
        *_tags({*tags, *deployment.tags, *deployment.flow_tags}),
    ]


def _belongings(deployment: Deployment, *, pool_type: bool) -> Iterator[Row]:
    yield _related("flow", deployment.flow_id, deployment.flow_name)
    yield _related("deployment", deployment.id, deployment.name)
    if deployment.work_queue_id is not None:
        yield _related("work-queue", deployment.work_queue_id, deployment.queue_name)
    if deployment.pool_id is not None:
        pool = _related("work-pool", deployment.pool_id, deployment.pool_name)
        yield {**pool, "prefect.work-pool.type": deployment.pool_type} if pool_type else pool


def _related(kind: str, number: uuid.UUID, name: str | None) -> Row:
    return {
        "prefect.resource.id": f"prefect.{kind}.{number}",
        "prefect.resource.role": kind,
        "prefect.resource.name": name,
    }


def _tags(tags: set[str]) -> Iterator[Row]:
    for tag in sorted(tags):
        yield {"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"}


def of_flow_run(
    report: RunReport,
    states: Sequence[StateReport],
    now: Now | None,
    *,
    run_count: int,
    related: Sequence[Row],
) -> Iterator[Row]:
    """Yield the events of a flow run's new ``states``, which follow ``now`` and its ``run_count``."""
    before: StateReport | Now | None = now
    for state in states:
        run_count += state.type == "RUNNING"
        is_close = before is not None and state.timestamp - before.timestamp < _TIGHT
        yield {
            "id": str(state.id),
            "occurred": state.timestamp.isoformat(),
            "event": f"prefect.flow-run.{state.name}",
            "resource": {
                "prefect.resource.id": f"prefect.flow-run.{report.flow_run_id}",
                "prefect.resource.name": report.name,
                "prefect.run-count": str(run_count),
                **resource_of_state(state),
            },
            "related": list(related),
            "payload": {
                "intended": {"from": before and before.type, "to": state.type},
                "initial_state": before and _payload(before),
                "validated_state": _payload(state),
            },
            "follows": str(before.id) if before is not None and is_close else None,
        }
        before = state


def _payload(state: StateReport | Now) -> Row:
    payload: Row = {"type": state.type, "name": state.name}
    if isinstance(state, StateReport) and state.message:
        payload["message"] = state.message[:LONGEST_MESSAGE]
    return payload


def row(event: Row) -> Row:
    """Return the row that keeps an event; its resources have rows of their own."""
    return {
        **event,
        "resource_id": event["resource"]["prefect.resource.id"],
        "related_resource_ids": [resource["prefect.resource.id"] for resource in event["related"]],
    }
