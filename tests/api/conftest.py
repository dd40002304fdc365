"""The API on a real database behind a real server; only Prefect is left out."""

import asyncio
import io
import shutil
import socket
import uuid
import zipfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
import sqlalchemy as sa
import uvicorn
import yaml
from fastapi import FastAPI
from sqlalchemy import URL

from api.app import create_app
from api.tokens.signing import generate_key_pair, generate_token
from deployments.serving import asgi
from deployments.serving.postgres import EmbeddedPostgres
from flows.database.pool import Pool
from flows.jobs.job import Job, State
from flows.jobs.outbox import Outbox
from tests.all_jobs import AllJobs
from tests.conftest import TEMPLATE, execute
from tests.waiting import LONG_ENOUGH

MAX_UPLOAD_SIZE = 8_000_000

CONFIG: dict[str, Any] = {
    "applications": {
        "wc": {"command_template": "wc README.md", "upload_needs": ["README.md"], "summary": "Count words"},
        "typed": {
            "command_template": "run {{ count }} {{ ratio }} {{ fast }} {{ text }} {{ mode }}",
            "description": "Takes fields",
            "input_schema": {
                "type": "object",
                "properties": {
                    "count": {"type": "integer", "maximum": 10},
                    "ratio": {"type": "number", "default": 0.5},
                    "fast": {"type": "boolean", "default": False},
                    "text": {"type": "string"},
                    "mode": {"type": "string", "enum": ["a", "b"], "default": "a"},
                },
                "required": ["count", "text"],
                "additionalProperties": False,
            },
        },
        "members": {"command_template": "true", "allowed_roles": ["member", "staff"]},
    },
    "quotas": {
        "submitters": {
            "queuing": {"queued": 3},
            "hourly": {"submissions_per_hour": 3},
            "keeping": {"bytes": 1000},
            "having all": {"running": 2, "queued": 10, "bytes": 100_000, "submissions_per_hour": 5},
        }
    },
    "interactive_applications": {
        # Runs whatever a test wants to see run.
        "sh": {
            "command_template": "{{ script|unquoted }}",
            "timeout": 60,
            "input_schema": {"type": "object", "properties": {"script": {"type": "string"}}},
        },
        "hasty": {
            "command_template": "{{ script|unquoted }}",
            "timeout": 0.5,
            "kill_after": 0.5,
            "input_schema": {"type": "object", "properties": {"script": {"type": "string"}}},
        },
        "lasting": {
            "command_template": "{{ script|unquoted }}",
            "timeout": 0.5,
            "kill_after": 600,
            "input_schema": {"type": "object", "properties": {"script": {"type": "string"}}},
        },
        "stopped": {
            "command_template": "{{ script|unquoted }}",
            "timeout": 0.5,
            "kill_after": 1,
            "input_schema": {"type": "object", "properties": {"script": {"type": "string"}}},
        },
        "file": {
            "command_template": "test -e {{ file }}; {{ script|unquoted }}",
            "timeout": 60,
            "input_schema": {
                "type": "object",
                "properties": {
                    "script": {"type": "string"},
                    "file": {"type": "string", "contentMediaType": "text/plain"},
                },
            },
        },
        "show": {
            "summary": "Show values",
            "description": "Writes what it got",
            "command_template": "printf '%s\\n' {{ text }} {{ count }} {{ fast }} {{ inner }}",
            "job_application": "wc",
            "input_schema": {
                "type": "object",
                "properties": {
                    "text": {"type": "string"},
                    "count": {"$ref": "#/$defs/count"},
                    "fast": {"type": "boolean", "default": True},
                    "inner": {"type": "object", "default": {"n": [1, None]}},
                },
                "required": ["text", "count"],
                "additionalProperties": False,
                "$defs": {"count": {"type": "number", "maximum": 1e300}},
            },
        },
        "embedded": {
            "command_template": "cat {% for file in files %}{{ file.content }} {% endfor %}{{ note }}; "
            "printf '%s\\n' {% for file in files %}{{ file.content }} {% endfor %}{{ note }} >&2",
            "input_schema": {
                "type": "object",
                "properties": {
                    "note": {"type": "string", "contentMediaType": "text/plain"},
                    "files": {"type": "array", "items": {"$ref": "#/$defs/file"}},
                },
                "$defs": {
                    "file": {
                        "type": "object",
                        "properties": {
                            "content": {
                                "type": "string",
                                "contentEncoding": "base64",
                                "contentMediaType": "application/octet-stream",
                            }
                        },
                    }
                },
            },
        },
        "typed": {"command_template": "true", "job_application": "typed", "input_schema": {"type": "object"}},
    },
}


class Wakings:
    """Stands in for workers: counts how often they are woken."""

    def __init__(self) -> None:
        self.count = 0

    def wake(self) -> None:
        self.count += 1


class Keys:
    """The operator's key pair."""

    def __init__(self, directory: Path) -> None:
        self.private = directory / "private.pem"
        self.public = directory / "public.pem"
        generate_key_pair(self.private, self.public)

    def token(self, username: str = "alice", *roles: str, minutes: int = 10) -> str:
        return generate_token(self.private, username, list(roles), minutes, "test")


class Site:
    """A running server and what stands behind it."""

    stack: AsyncExitStack

    def __init__(self, port: int, keys: Keys, store: AllJobs, data_dir: Path, wakings: Wakings) -> None:
        self.port = port
        self.keys = keys
        self.store = store
        self.data_dir = data_dir
        self.wakings = wakings

    async def client(self, username: str = "alice", *roles: str) -> httpx.AsyncClient:
        """Return a client that sends the user's token."""
        return await self.anonymous(headers={"Authorization": f"Bearer {self.keys.token(username, *roles)}"})

    async def anonymous(self, **options: Any) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=LONG_ENOUGH, **options)
        return await self.stack.enter_async_context(client)

    def uploads(self) -> list[Path]:
        return sorted((self.data_dir / "uploads").iterdir())

    def job_dir(self, job: Job) -> Path:
        return self.data_dir / "jobs" / str(job.id)

    async def jobs(self, username: str = "alice") -> list[Job]:
        return await self.store.of_submitter(username, limit=1000, offset=0)

    async def nothing_is_left(self) -> bool:
        return not self.uploads() and not await self.jobs() and not self.wakings.count

    async def new_job(self, username: str = "alice", application: str = "wc") -> Job:
        return await self.store.create(
            application=application, submitter=username, roles=[], command="wc", token=uuid.uuid4()
        )

    async def ended_job(
        self, files: dict[str, bytes], username: str = "alice", application: str = "wc"
    ) -> Job:
        """Return a job that is ok and has these files."""
        job = await self.new_job(username, application)
        for state in (State.QUEUED, State.RUNNING, State.STAGING_OUT):
            await self.store.advance(job.id, state)
        await self.store.complete(job.id)
        self.job_dir(job).mkdir(parents=True)
        for name, content in files.items():
            (self.job_dir(job) / name).write_bytes(content)
        return job


def zip_of(files: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", compression) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return content.getvalue()


README_ZIP = zip_of({"README.md": b"one two\nthree\n"})


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    return Keys(tmp_path_factory.mktemp("keys"))


def settings(directory: Path, database: URL, keys: Keys) -> dict[str, str]:
    """Return the environment of a server that keeps its things in the directory."""
    config = directory / "config.yaml"
    config.write_text(yaml.safe_dump(CONFIG))
    return {
        "BARTENDER_DB_DSN": database.render_as_string(hide_password=False),
        "BARTENDER_CONFIG_FILENAME": str(config),
        "BARTENDER_PUBLIC_KEY": str(keys.public),
        "BARTENDER_DATA_DIR": str(directory / "data"),
        "BARTENDER_MAX_UPLOAD_SIZE": str(MAX_UPLOAD_SIZE),
    }


@asynccontextmanager
async def serving(app: FastAPI, **options: Any) -> AsyncIterator[int]:
    """Serve the application as `bartender serve` does; yields the port."""
    # With its protocol, for asyncio to send small answers at once: uvloop does so for any.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    config = uvicorn.Config(app, http="httptools", lifespan="on", log_config=None, **options)
    server = asgi.Server(config)
    # Not serve(): it would take the signal handlers of pytest away.
    task = asyncio.create_task(server._serve([listener]))
    while not server.started and not task.done():
        await asyncio.sleep(0.01)
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await task


@pytest_asyncio.fixture(scope="session")
async def running(
    postgres: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory, keys: Keys
) -> AsyncIterator[Site]:
    """One server for all tests that do not need one of their own."""
    directory = tmp_path_factory.mktemp("api")
    await execute(postgres, f"CREATE DATABASE api TEMPLATE {TEMPLATE}")
    wakings = Wakings()

    @asynccontextmanager
    async def open_workers(_outbox: Outbox) -> AsyncIterator[Wakings]:
        yield wakings

    with pytest.MonkeyPatch.context() as environment:
        for name, value in settings(directory, postgres.url("api"), keys).items():
            environment.setenv(name, value)
        app = create_app(open_workers=open_workers)
    pool = Pool(postgres.url("api"))
    async with serving(app) as port:
        yield Site(port, keys, AllJobs(pool), directory / "data", wakings)
    await pool.close()


@pytest_asyncio.fixture
async def site(running: Site) -> AsyncIterator[Site]:
    """The server, with nothing in its database and on its disk."""
    await running.store.pool.fetch(sa.text("TRUNCATE job, worker, destination_report, submitter"))
    for name in ("jobs", "uploads"):
        shutil.rmtree(running.data_dir / name, ignore_errors=True)
        (running.data_dir / name).mkdir()
    running.wakings.count = 0
    async with AsyncExitStack() as running.stack:
        yield running


@pytest.fixture
def environment(
    tmp_path: Path, postgres: EmbeddedPostgres, keys: Keys, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """The settings for a server of the test's own, to be changed before it starts; its database is empty."""
    for name, value in settings(tmp_path, postgres.url("postgres"), keys).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest_asyncio.fixture
async def alice(site: Site) -> httpx.AsyncClient:
    return await site.client("alice")


@asynccontextmanager
async def no_workers(_outbox: Outbox) -> AsyncIterator[Wakings]:
    yield Wakings()
