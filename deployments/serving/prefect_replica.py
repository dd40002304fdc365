"""``bartender prefect-server``: a Prefect server with our route, one of several on an operator's database."""

import asyncio
import importlib.util
import logging
import os
import threading
from collections.abc import Mapping
from urllib.parse import urlsplit

import asyncpg
from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from deployments.recording.route.server import App, Receive, Scope, Send
from deployments.serving import asgi, tuning
from deployments.serving.listening import base_url, listen
from deployments.serving.prefect_server import PREPARE
from deployments.worker.advisory_locks import try_lock
from flows import postgres
from flows.database.connecting import connect_options
from flows.errors import ConfigurationError, one_line

logger = logging.getLogger(__name__)

FACTORY = "deployments.serving.prefect_replica:create_app"
DATABASE = "PREFECT_SERVER_DATABASE_CONNECTION_URL"
_OLDER_NAME = "PREFECT_API_DATABASE_CONNECTION_URL"
_LOGIN = "PREFECT_SERVER_API_AUTH_STRING"

STOP_SECONDS = 8.0
"""That the server has to end in once requests have: supervisors kill after 10."""

_LOCK = "bartender: start of a Prefect server"
_LOOK_INTERVAL = 0.5
_LONGEST_START = "10min"
"""After which a server that was frozen while it started keeps no other one from starting."""


def run(host: str, port: int, redis_url: str | None, log_level: str) -> None:
    """Serve until SIGTERM. Raises ConfigurationError for what keeps it from starting."""
    environment = {**tuning.environment(), **_own(os.environ, redis_url)}
    asyncio.run(_check(_database(environment)))
    listener = listen(host, port, "PREFECT_SERVER_API_PORT")
    os.environ.clear()  # before anything imports Prefect, which reads it once
    os.environ.update(environment | {"PREFECT_SERVER_API_HOST": host, "PREFECT_SERVER_API_PORT": str(port)})
    print(f"Prefect's API and UI  {base_url(listener)}", flush=True)
    asgi.main([FACTORY, str(listener.detach()), f"--first={PREPARE}", f"--log-level={log_level.lower()}"])


def _own(environ: Mapping[str, str], redis_url: str | None) -> dict[str, str]:
    if not environ.get(_LOGIN):
        raise ConfigurationError(
            f"environment: {_LOGIN} is not set; set it to USER:PASSWORD here, and PREFECT_API_AUTH_STRING to "
            "the same for workers"
        )
    return {} if redis_url is None else _by_redis(redis_url)


def _by_redis(url: str) -> dict[str, str]:
    if importlib.util.find_spec("prefect_redis") is None:
        raise ConfigurationError(
            "environment: BARTENDER_REDIS_URL is set, and the package prefect-redis is not installed; run: "
            "pip install 'bartender[redis]'"
        )
    if urlsplit(url).scheme not in {"redis", "rediss", "redis+sentinel", "rediss+sentinel"}:
        raise ConfigurationError(
            "environment: BARTENDER_REDIS_URL is no address: write redis://user:password@host:6379/0"
        )
    return tuning.by_redis(url)


def _database(environ: Mapping[str, str]) -> URL:
    text = environ.get(DATABASE) or environ.get(_OLDER_NAME) or ""
    try:
        url = make_url(text)
    except ArgumentError:
        url = None
    if url is None or url.drivername != "postgresql+asyncpg":
        raise ConfigurationError(
            f"environment: {DATABASE} names no PostgreSQL; set it to "
            "postgresql+asyncpg://user:password@host/prefect"
        )
    return url


async def _check(url: URL) -> None:
    """Say in one line what Prefect would in many."""
    try:
        connection = await postgres.connect(**connect_options(url), timeout=30)
        await connection.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise ConfigurationError(
            f"environment: the database of {DATABASE} cannot be used ({one_line(error) or repr(error)}); "
            "correct the address, or start it"
        ) from error


def create_app() -> App:
    """Return Prefect's application with our route, which starts when no other server does."""
    from deployments.recording.route import server

    return InTurn(server.create_app())


class InTurn:
    """Lets one server after the other start, since each may have to make or change tables; ends in time."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve as the application does."""
        if scope["type"] != "lifespan":
            await self._app(scope, receive, send)
            return
        connection = await _connection()
        # Not by a statement that waits: Prefect makes indexes in a way that waits for those.
        while not await try_lock(connection, _LOCK):  # noqa: ASYNC110 - another process lets go of it
            await asyncio.sleep(_LOOK_INTERVAL)

        async def heard() -> Scope:
            message = await receive()
            if message["type"] == "lifespan.shutdown":
                _end_soon()
            return message

        async def told(message: Scope) -> None:
            if message["type"].startswith("lifespan.startup"):
                await connection.close(timeout=5)
            await send(message)

        try:
            await self._app(scope, heard, told)
        finally:
            connection.terminate()


def _end_soon() -> None:
    """End this process though something in it goes on: Prefect waits for a Redis that was away, for ever."""
    timer = threading.Timer(STOP_SECONDS, os._exit, [0])
    timer.daemon = True
    timer.start()


async def _connection() -> asyncpg.Connection:
    from deployments.serving.prefect_process import lasting_connection

    connection = await lasting_connection()
    if connection is None:
        raise ConfigurationError(f"environment: the database of {DATABASE} cannot be used")
    await connection.execute(f"SET idle_session_timeout = '{_LONGEST_START}'")
    return connection
