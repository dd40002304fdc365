"""Prefect's database, kept from growing for ever: old flow runs of ours go, with all that belongs to them."""

from collections.abc import Collection
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.filters import (
    ArtifactFilter,
    ArtifactFilterFlowRunId,
    FlowFilter,
    FlowFilterName,
)
from prefect.exceptions import ObjectNotFound

from flows.lifecycle.flow_run import CLEAN_UP, FLOW, RECONCILE
from flows.pilots import orders
from flows.upkeep.findings import Findings

UPKEEP_FLOWS = (CLEAN_UP, RECONCILE)
_BATCH = 50
"""Prefect deletes no more in one call."""

_FINAL = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED"]


async def remove_old_runs(
    findings: Findings, *, dry_run: bool, age_of_jobs: timedelta, age_of_upkeep: timedelta, at_most: int
) -> None:
    """Remove flow runs of ours that ended so long ago; nobody else's."""
    async with get_client() as client:
        for names, age in (((FLOW, orders.FLOW), age_of_jobs), (UPKEEP_FLOWS, age_of_upkeep)):
            flows = FlowFilter(name=FlowFilterName(any_=list(names)))
            deployments = [deployment.id for deployment in await client.read_deployments(flow_filter=flows)]
            if not deployments:
                continue
            old = _ended_before(datetime.now(UTC) - age, deployments)
            what = f"old flow runs of {', '.join(names)}"
            if dry_run:
                number, action = await _count(client, old), "would be removed"
            else:
                number, action = await _remove(client, old, at_most), "removed"
            if number:
                findings.add(what, number, action, number=number)


def _ended_before(moment: datetime, deployments: Collection[UUID]) -> dict[str, Any]:
    return {
        "deployment_id": {"any_": [str(deployment) for deployment in deployments]},
        "end_time": {"before_": moment.isoformat()},
        "state": {"type": {"any_": _FINAL}},
    }


async def _count(client: PrefectClient, flow_runs: dict[str, Any]) -> int:
    answer = await client.request("POST", "/flow_runs/count", json={"flow_runs": flow_runs})
    return int(answer.json())


async def _remove(client: PrefectClient, flow_runs: dict[str, Any], at_most: int) -> int:
    removed = 0
    while removed < at_most:
        limit = min(_BATCH, at_most - removed)
        # Task runs and states go with them; Prefect removes the logs a little later.
        answer = await client.request(
            "POST",
            "/flow_runs/bulk_delete",  # type: ignore[arg-type]
            json={"flow_runs": flow_runs, "limit": limit},
        )
        deleted = [UUID(flow_run_id) for flow_run_id in answer.json()["deleted"]]
        if deleted:
            await _remove_artifacts(client, deleted)
        removed += len(deleted)
        if len(deleted) < limit:
            break
    return removed


async def _remove_artifacts(client: PrefectClient, flow_runs: list[UUID]) -> None:
    of_runs = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=flow_runs))
    while artifacts := await client.read_artifacts(artifact_filter=of_runs):
        for artifact in artifacts:
            with suppress(ObjectNotFound):
                await client.delete_artifact(artifact.id)
