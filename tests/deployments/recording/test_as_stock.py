"""Runs that were told of are as those that Prefect's own engine runs, in all that its API says."""

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from deployments.recording.reports import Answer, Verdict
from tests.deployments.recording import stock
from tests.deployments.recording.server import Json, Server

WHEN_WRITTEN = {"created", "updated", "received", "recorded"}
NOT_TOLD = {
    "transition_id",  # of one request to change a state
    "retriable",  # nobody reads it of a run whose flow raised
    "flow_version",  # a hash of the flow's file: none of our runs has had one
    "data",  # that a flow returned None is kept by the stock engine; results of steps are looked at below
}


async def everything(server: Server, flow_run_id: uuid.UUID) -> Json:
    """Return all that the API says of a run."""
    tasks = await server.tasks(flow_run_id)
    return {
        "run": await server.run(flow_run_id),
        "states": await server.states(flow_run_id),
        "tasks": tasks,
        "task_states": {task["id"]: await server.task_states(task["id"]) for task in tasks},
        "graph": await server.get(f"/flow_runs/{flow_run_id}/graph"),
        "graph-v2": await server.get(f"/flow_runs/{flow_run_id}/graph-v2"),
        "events": [
            event
            for event in await server.events(flow_run_id)
            if event["event"].startswith("prefect.flow-run.")
            and event["event"] != "prefect.flow-run.heartbeat"
        ],
    }


def comparable(said: Json, ids: dict[str, str]) -> Any:
    """Return it under the copy's ids, without what cannot be alike."""
    text = json.dumps(said)
    for old, new in ids.items():
        text = text.replace(old, new)
    return _without(json.loads(text))


def differences(found: Any, expected: Any, where: str = "") -> Iterator[str]:
    """Yield where two answers differ, and how."""
    if isinstance(found, dict) and isinstance(expected, dict):
        for key in found.keys() | expected.keys():
            yield from differences(found.get(key), expected.get(key), f"{where}.{key}")
    elif isinstance(found, list) and isinstance(expected, list) and len(found) == len(expected):
        for number, pair in enumerate(zip(found, expected, strict=True)):
            yield from differences(*pair, f"{where}[{number}]")
    elif found != expected:
        yield f"{where}: {found} is not {expected}"


def results(said: Json) -> list[str]:
    """Return where the results of steps are kept."""
    states = [state for states in said["task_states"].values() for state in states]
    return sorted(json.dumps(state["data"]) for state in states)


def _without(said: Any) -> Any:
    if isinstance(said, list):  # what has an order has timestamps, too
        return sorted((_without(one) for one in said), key=lambda one: json.dumps(one, sort_keys=True))
    if isinstance(said, dict):
        return {key: _without(value) for key, value in said.items() if key not in WHEN_WRITTEN | NOT_TOLD}
    return said


@pytest.mark.parametrize(
    ("job_id", "failures", "times"),
    [(2, 0, 1), (4, 2, 1), (3, 0, 1), (-1, 0, 1), (6, 1, 2)],
    ids=["completed", "retried", "failed", "raised", "interrupted"],
)
async def test_of_a_stock_run(server: Server, job_id: int, failures: int, times: int) -> None:
    stock.failures[job_id] = failures
    flow_run_id = await stock.run(server, job_id, times=times)
    copy = await stock.copy(server, flow_run_id)
    assert await server.recorder().record([copy.report]) == [Answer(Verdict.WRITTEN)]
    theirs, ours = await everything(server, flow_run_id), await everything(server, copy.report.flow_run_id)
    expected = comparable(theirs, copy.ids)
    found = comparable(ours, {})
    assert list(differences(found, expected)) == []
    assert results(ours) == results(theirs)
