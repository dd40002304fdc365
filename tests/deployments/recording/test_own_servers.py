"""Servers that an operator has set up otherwise, that end, or whose tables are others."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
import websockets

from deployments.recording.by_rest import RestRecorder
from deployments.recording.by_route import NoRoute
from deployments.recording.choosing import open_recorder
from deployments.recording.reports import Answer, Verdict
from deployments.serving.postgres import EmbeddedPostgres
from flows.errors import Unavailable
from tests.deployments.recording.server import Json, Server, started
from tests.deployments.recording.telling import Job
from tests.waiting import until_it_works

WITH_AUTOMATIONS = {"PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "true"}


@pytest_asyncio.fixture(scope="module")
async def automated(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    directory = tmp_path_factory.mktemp("prefect")
    async with started(directory, postgres, "prefect_with_automations", WITH_AUTOMATIONS) as server:
        yield server


async def until(ask: Callable[[], Awaitable[Any]]) -> Any:
    while not (answer := await ask()):
        await asyncio.sleep(0.2)
    return answer


@pytest.mark.parametrize("kind", ["flow-run", "task-run"])
async def test_automations_are_told(automated: Server, kind: str) -> None:
    job, event = Job(), f"prefect.{kind}.Completed"
    made = await automated.post(
        "/automations/",
        {
            "name": f"on {event}",
            "trigger": {
                "type": "event",
                "match": {"prefect.resource.id": f"prefect.{kind}.*"},
                "match_related": {"prefect.resource.id": f"prefect.tag.submitter:{job.id}"},
                "expect": [event],
                "posture": "Reactive",
                "threshold": 1,
                "within": 0,
            },
            "actions": [{"type": "do-nothing"}],
        },
    )
    automation = f"prefect.automation.{made['id']}"

    async def fired() -> list[Json]:
        wanted = {"resource": {"id": [automation]}, "event": {"name": ["prefect.automation.triggered"]}}
        found: list[Json] = (await automated.post("/events/filter", {"filter": wanted}))["events"]
        return found

    assert await automated.recorder().record([job.ends()]) == [Answer(Verdict.WRITTEN)]
    await until(fired)
    names = [happened["event"] for happened in await until(lambda: _all_events(automated, job))]
    assert names.count("prefect.task-run.Completed") == 4
    assert [name for name in names if name.startswith("prefect.flow-run.")] == [
        f"prefect.flow-run.{name}" for name in ("Scheduled", "Running", "Completed")
    ]
    # Prefect's recorder of task runs has not made them once more.
    assert len(await automated.tasks(job.id)) == 4


async def _all_events(server: Server, job: Job) -> list[Json]:
    events = await server.events(job.id)
    return events if len(events) >= 7 else []


async def test_whoever_watches_the_event_feed_hears_at_once(server: Server) -> None:
    job = Job()
    url = f"{server.embedded.api_url.replace('http', 'ws')}/events/out"
    wanted = {"any_resource": {"id": [f"prefect.flow-run.{job.id}"]}}
    async with websockets.connect(url, subprotocols=[websockets.Subprotocol("prefect")]) as feed:
        await feed.send(json.dumps({"type": "auth", "token": server.login}))
        assert json.loads(await feed.recv())["type"] == "auth_success"
        await feed.send(json.dumps({"type": "filter", "filter": wanted}))
        heard = asyncio.create_task(_hear(feed, 3))
        while not heard.done():  # the filter is heeded some time after it was sent
            await server.recorder().record([job.ends()])
            await asyncio.wait([heard], timeout=0.5)
            if not heard.done():
                await server.http.delete(f"/flow_runs/{job.id}")
    assert await heard == [f"prefect.flow-run.{name}" for name in ("Scheduled", "Running", "Completed")]


async def _hear(feed: websockets.ClientConnection, number: int) -> list[str]:
    return [json.loads(await feed.recv())["event"]["event"] for _ in range(number)]


async def test_the_flow_is_made_where_an_operator_deleted_it(automated: Server) -> None:
    job = Job()
    flow_id = (await automated.client.read_flow_by_name("run-job")).id
    assert (await automated.http.delete(f"/flows/{flow_id}")).is_success
    recorder = automated.recorder()
    with pytest.raises(Unavailable):
        await recorder.record([job.ends()])
    assert await recorder.record([job.ends()]) == [Answer(Verdict.WRITTEN)]


async def test_a_server_that_is_killed_loses_nothing_that_is_told_again(automated: Server) -> None:
    jobs = [Job(number) for number in range(40)]
    recorder = automated.recorder()

    async def tell() -> list[Verdict]:
        while True:
            try:
                return [answer.verdict for answer in await recorder.record([job.ends() for job in jobs])]
            except Unavailable:
                await asyncio.sleep(0.2)

    for _ in range(2):
        telling = asyncio.create_task(tell())
        await asyncio.sleep(0)
        await automated.killed_and_started()
        assert await telling == [Verdict.WRITTEN] * 40
    for job in jobs:
        assert await automated.names(job.id) == ["Scheduled", "Running", "Completed"]
        assert len(await automated.tasks(job.id)) == 4


async def test_other_tables_are_not_written(automated: Server, caplog: pytest.LogCaptureFixture) -> None:
    """The look at them is at the first request, so the server is one that has not had one."""
    job = Job()
    async with automated.sql() as connection:
        await connection.execute("ALTER TABLE flow_run ADD COLUMN shape text")
    try:
        await automated.killed_and_started()
        for ask in (automated.recorder().check, lambda: automated.recorder().record([job.ends()])):
            with pytest.raises(NoRoute, match="shape"):
                await ask()
        async with open_recorder(automated.client, automated.login, results=None, by_route=True) as recorder:
            assert await recorder.record([job.ends()]) == [Answer(Verdict.WRITTEN)]
            assert not await recorder.has_route()
        assert [record.getMessage() for record in caplog.records if "public API" in record.getMessage()] == [
            "Runs are told by Prefect's public API, which costs it far more: "
            "Prefect's table flow_run has other columns: shape text?."
        ]
    finally:
        async with automated.sql() as connection:
            await connection.execute("ALTER TABLE flow_run DROP COLUMN shape")
        await automated.killed_and_started()
    async with open_recorder(automated.client, automated.login, results=None, by_route=True) as recorder:
        assert await recorder.has_route()


async def test_an_operator_may_switch_the_route_off(server: Server) -> None:
    async with open_recorder(server.client, server.login, results=None, by_route=False) as recorder:
        assert not await recorder.has_route()
    assert isinstance(recorder._rest, RestRecorder)


async def test_connections_that_are_lost(automated: Server) -> None:
    """PostgreSQL was restarted, say: none of those that Prefect keeps is of use any more."""
    job, recorder = Job(), automated.recorder()
    await recorder.record([job.waits()])
    for report in (job.runs(), job.runs_in("upload"), job.ends()):
        async with automated.sql() as connection:
            await connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        answers = await until_it_works(partial(recorder.record, [report]))
        assert answers == [Answer(Verdict.WRITTEN)]
