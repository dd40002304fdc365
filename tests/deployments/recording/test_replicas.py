"""Two Prefect servers on one database, started at the same moment, on no tables yet; messages go by Redis.

They take half a minute of a processor's time before anything is asked of them, so this is a part of
``make test-long``; ``make hosts`` has jobs with such servers.
"""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from deployments.recording.by_route import RouteRecorder
from deployments.recording.reports import Answer, Verdict
from deployments.registration.deploy import deployment_id, register
from deployments.registration.names import DEPLOYMENT, RESULTS_BLOCK
from deployments.serving.postgres import EmbeddedPostgres
from flows.errors import Unavailable
from flows.lifecycle.flow_run import FLOW
from tests.deployments.recording.telling import Job
from tests.e2e.service import A_START, free_port, until
from tests.services.fixtures import skipped_where_missing
from tests.services.redis import RedisServer

pytestmark = pytest.mark.long

LOGIN = "operator:of-these-tests"
DATABASE = "prefect_replicas"

_HEARD = 10.0
"""Seconds. Servers look each 5 s what automations there are, should they not have heard of a new one."""


@dataclass
class Replica:
    """``recorder`` tells this one of runs."""

    port: int
    process: subprocess.Popen[bytes]
    http: httpx.AsyncClient
    recorder: RouteRecorder = field(init=False)

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    async def answers(self) -> bool:
        assert self.process.poll() is None
        try:
            return (await self.http.get("/admin/version")).status_code == 200
        except httpx.TransportError:
            return False


@dataclass
class Site:
    redis: RedisServer
    replicas: list[Replica]

    async def post(self, path: str, body: Any, replica: int = 0) -> Any:
        answer = await self.replicas[replica].http.post(path, json=body)
        return answer.raise_for_status().json()

    async def events(self, **wanted: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        found += (await self.post("/events/filter", {"filter": wanted, "limit": 50}))["events"]
        return found


def started(directory: Path, database: str, redis: RedisServer) -> Replica:
    port = free_port()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment |= {
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": database,
        "PREFECT_SERVER_API_AUTH_STRING": LOGIN,
        "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "true",
        "PREFECT_HOME": str(directory),
        "BARTENDER_REDIS_URL": redis.url,
    }
    directory.mkdir()
    with (directory / "log").open("wb") as log:
        command = [sys.executable, "-m", "api", "prefect-server", "--port", str(port)]
        process = subprocess.Popen(command, cwd=directory, env=environment, stdout=log, stderr=log)
    name, _, password = LOGIN.partition(":")
    http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}/api", auth=(name, password), timeout=60)
    return Replica(port, process, http)


@pytest_asyncio.fixture(scope="module")
async def site(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> AsyncIterator[Site]:
    directory = tmp_path_factory.mktemp("replicas")
    with skipped_where_missing(request.config):
        redis = RedisServer(directory / "redis", "127.0.0.1", free_port())
    redis.start()
    await postgres.create_database(DATABASE)
    url = postgres.url(DATABASE).render_as_string(hide_password=False)
    replicas = [started(directory / str(number), url, redis) for number in range(2)]
    try:
        for replica in replicas:
            await until(replica.answers, A_START)
        async with AsyncExitStack() as stack:
            settings = {PREFECT_API_URL: replicas[0].api_url, PREFECT_API_AUTH_STRING: LOGIN}
            stack.enter_context(temporary_settings(settings))
            client = await stack.enter_async_context(get_client())
            await register(client, directory / "results")
            for replica in replicas:
                replica.recorder = RouteRecorder(
                    replica.api_url,
                    LOGIN,
                    flow=FLOW,
                    deployment=DEPLOYMENT,
                    results=RESULTS_BLOCK,
                    register=lambda: deployment_id(client),
                )
                await stack.enter_async_context(replica.recorder)
            yield Site(redis, replicas)
    finally:
        for replica in replicas:
            await replica.http.aclose()
            replica.process.terminate()
        for replica in replicas:
            await asyncio.to_thread(replica.process.wait, 60)
        await asyncio.to_thread(redis.stop)


async def automation(site: Site, job: Job, name: str) -> str:
    """Make one about the completion of runs of a job's submitter; return its resource."""
    trigger = {
        "type": "event",
        "match": {"prefect.resource.id": "prefect.flow-run.*"},
        "match_related": {"prefect.resource.id": f"prefect.tag.submitter:{job.id}"},
        "for_each": ["prefect.resource.id"],
        "expect": ["prefect.flow-run.Completed"],
        "posture": "Reactive",
        "threshold": 1,
        "within": 0,
    }
    body = {"name": name, "trigger": trigger, "actions": [{"type": "do-nothing"}]}
    return f"prefect.automation.{(await site.post('/automations/', body, 1))['id']}"


async def fired(site: Site, resource: str) -> list[dict[str, Any]]:
    return await site.events(resource={"id": [resource]}, event={"name": ["prefect.automation.triggered"]})


async def test_an_automation_fires_once_whichever_server_is_told(site: Site) -> None:
    jobs = [Job(number) for number in range(6)]
    resources = [await automation(site, job, f"completed {job.id}") for job in jobs]
    await asyncio.sleep(_HEARD)
    for number, job in enumerate(jobs):
        one, other = site.replicas[number % 2], site.replicas[1 - number % 2]
        assert await one.recorder.record([job.runs()]) == [Answer(Verdict.WRITTEN)]
        assert await other.recorder.record([job.ends()]) == [Answer(Verdict.WRITTEN)]
        assert await one.recorder.record([job.ends()]) == [Answer(Verdict.WRITTEN)]  # the same, once more
    for resource in resources:
        await until(lambda resource=resource: fired(site, resource))  # type: ignore[misc]
    assert [len(await fired(site, resource)) for resource in resources] == [1] * len(jobs)


async def test_two_servers_are_told_of_the_same_runs_at_once(site: Site) -> None:
    jobs = [Job(number) for number in range(40)]
    for reports in ([job.runs() for job in jobs], [job.ends() for job in jobs]):
        for answers in await asyncio.gather(*(replica.recorder.record(reports) for replica in site.replicas)):
            assert answers == [Answer(Verdict.WRITTEN)] * len(jobs)
    for job in jobs:
        states = (await site.replicas[0].http.get(f"/flow_run_states/?flow_run_id={job.id}")).json()
        assert sorted(state["name"] for state in states) == ["Completed", "Running", "Scheduled"]


async def test_what_redis_did_not_take_is_told_later(site: Site) -> None:
    """Nothing that automations wait for is lost; runs are told again until it is back."""
    first, second = Job(), Job()
    resources = [await automation(site, job, f"later {job.id}") for job in (first, second)]
    await asyncio.sleep(_HEARD)
    recorder = site.replicas[0].recorder
    await asyncio.to_thread(site.redis.kill)
    try:
        assert await recorder.record([first.ends()]) == [Answer(Verdict.WRITTEN)]
        with pytest.raises(Unavailable):
            await recorder.record([second.ends()])
        assert (await site.replicas[1].http.get(f"/flow_runs/{second.id}")).status_code == 404
    finally:
        await asyncio.to_thread(site.redis.start)

    async def is_told() -> bool:
        try:
            return await recorder.record([second.ends()]) == [Answer(Verdict.WRITTEN)]
        except Unavailable:
            return False

    await until(is_told)
    for resource in resources:
        await until(lambda resource=resource: fired(site, resource))  # type: ignore[misc]
