"""A Prefect server of tests: what is told to it, and what its API says."""

import os
import signal
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from sqlalchemy import URL

from deployments.recording.by_route import RouteRecorder
from deployments.registration.deploy import deployment_id, register
from deployments.registration.names import DEPLOYMENT, RESULTS_BLOCK
from deployments.serving import prefect_server
from deployments.serving.listening import listen
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect
from flows.lifecycle.flow_run import FLOW

Json = dict[str, Any]


@dataclass
class Server:
    """A running server, whose settings are this process's as long as it runs."""

    embedded: EmbeddedPrefect
    login: str
    database: URL
    client: PrefectClient
    http: httpx.AsyncClient
    storage: LocalFileSystem
    stack: AsyncExitStack = field(default_factory=AsyncExitStack)

    def recorder(self, login: str | None = None) -> RouteRecorder:
        """Return a recorder, which the server's end closes."""
        recorder = RouteRecorder(
            self.embedded.api_url,
            login or self.login,
            flow=FLOW,
            deployment=DEPLOYMENT,
            results=RESULTS_BLOCK,
            register=self.register,
        )
        self.stack.push_async_exit(recorder)
        return recorder

    async def register(self) -> uuid.UUID:
        return await deployment_id(self.client)

    async def post(self, path: str, body: Any) -> Any:
        response = await self.http.post(path, json=body)
        response.raise_for_status()
        return response.json() if response.content else None

    async def get(self, path: str) -> Any:
        response = await self.http.get(path)
        response.raise_for_status()
        return response.json()

    async def run(self, flow_run_id: uuid.UUID) -> Json:
        run: Json = await self.get(f"/flow_runs/{flow_run_id}")
        return run

    async def states(self, flow_run_id: uuid.UUID) -> list[Json]:
        states: list[Json] = await self.get(f"/flow_run_states/?flow_run_id={flow_run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    async def names(self, flow_run_id: uuid.UUID) -> list[str]:
        return [state["name"] for state in await self.states(flow_run_id)]

    async def tasks(self, flow_run_id: uuid.UUID) -> list[Json]:
        wanted = {"flow_runs": {"id": {"any_": [str(flow_run_id)]}}, "sort": "EXPECTED_START_TIME_ASC"}
        tasks: list[Json] = await self.post("/task_runs/filter", wanted)
        return tasks

    async def task_states(self, task_run_id: str) -> list[Json]:
        states: list[Json] = await self.get(f"/task_run_states/?task_run_id={task_run_id}")
        return sorted(states, key=lambda state: str(state["timestamp"]))

    async def events(self, flow_run_id: uuid.UUID) -> list[Json]:
        """Return all that are about the run or related to it, oldest first."""
        wanted = {"any_resource": {"id": [f"prefect.flow-run.{flow_run_id}"]}, "order": "ASC"}
        events: list[Json] = (await self.post("/events/filter", {"filter": wanted, "limit": 50}))["events"]
        return events

    async def set_state(self, flow_run_id: uuid.UUID, kind: str, name: str | None = None) -> None:
        """Do what an operator does."""
        state = {"type": kind, "name": name or kind.title()}
        await self.post(f"/flow_runs/{flow_run_id}/set_state", {"state": state, "force": True})

    async def killed_and_started(self) -> None:
        """Kill the server as a lack of memory does, and start it again."""
        child = self.embedded.child
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await child.stop()
        await child.start()
        await self.embedded.wait_until_ready()

    @asynccontextmanager
    async def sql(self) -> AsyncIterator[asyncpg.Connection]:
        connection = await asyncpg.connect(
            host=str(self.database.query["host"]),
            user=self.database.username,
            password=self.database.password,
            database=self.database.database,
        )
        try:
            yield connection
        finally:
            await connection.close()


@asynccontextmanager
async def started(
    directory: Path, postgres: EmbeddedPostgres, database: str, environment: Mapping[str, str] | None = None
) -> AsyncIterator[Server]:
    """Start a server of its own; ``environment`` is what its operator sets."""
    changed = patch.object(prefect_server, "DATABASE", database), patch.dict(os.environ, environment or {})
    with listen("127.0.0.1", 0, "") as listener:
        with changed[0], changed[1]:
            embedded = EmbeddedPrefect(directory, postgres, listener)
            await embedded.make_database()
        try:
            await embedded.child.start()
            await embedded.wait_until_ready()
            async with connected(embedded, postgres.url(database), directory / "results") as server:
                yield server
        finally:
            await embedded.child.stop()


@asynccontextmanager
async def connected(embedded: EmbeddedPrefect, database: URL, results: Path) -> AsyncIterator[Server]:
    """Let a server know the flow of jobs; what this process does with Prefect is done there."""
    login = embedded.client_environment()["PREFECT_API_AUTH_STRING"]
    settings = {PREFECT_API_URL: embedded.api_url, PREFECT_API_AUTH_STRING: login}
    name, _, password = login.partition(":")
    async with AsyncExitStack() as stack:
        stack.enter_context(temporary_settings(settings))
        client = await stack.enter_async_context(get_client())
        http = httpx.AsyncClient(base_url=embedded.api_url, auth=(name, password), timeout=60)
        await stack.enter_async_context(http)
        storage = (await register(client, results)).results
        server = Server(embedded, login, database, client, http, storage)
        async with server.stack:
            yield server
