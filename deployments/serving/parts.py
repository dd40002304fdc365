"""What `bartender serve` runs: made here, before any of it is started."""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from pydantic import SecretStr

from deployments import migrations
from deployments.registration.names import default_worker_name
from deployments.serving import asgi
from deployments.serving.listening import listen
from deployments.serving.nursery import Birth
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect
from deployments.serving.processes import Child
from deployments.settings import PREFIX, Settings
from flows.disk import private_files
from flows.errors import ConfigurationError

API = "api.app:create_app"
DATABASE = "bartender"
LOOPBACK = "127.0.0.1"
PREFECT_PORT = 4200
"""Of the embedded server, where none is configured and this one is free."""

STOP_SIGNALS = ((signal.SIGTERM, 2.5),)
"""With those of the Prefect server, all but PostgreSQL has ended in less than 10 s."""

_API_IMPORTS = ("api.app", "uvloop", "uvicorn.lifespan.on", "uvicorn.protocols.http.httptools_impl")
_WORKER_DEFAULTS = {"PREFECT_LOGGING_TO_API_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Parts:
    """``environment`` is how other processes reach the embedded ones. None is what is not ours to run."""

    postgres: EmbeddedPostgres | None
    prefect: EmbeddedPrefect | None
    has_database: bool
    environment: dict[str, str]
    api: list[Child]
    worker: Child | None

    @property
    def births(self) -> list[Birth]:
        """Return the children, the most wanted first."""
        births = [Birth(child, _API_IMPORTS) for child in self.api]
        if self.worker is not None:
            births.append(Birth(self.worker, ("deployments.worker.worker",)))
        if self.prefect is not None:
            births.append(Birth(self.prefect.child))
        return births

    async def start_databases(self) -> bool:
        """Start PostgreSQL and see to databases and tables; return whether Prefect's has none yet."""
        if self.postgres is None:
            return False
        await self.postgres.start()
        is_new = self.prefect is not None and await self.prefect.make_database()
        if self.has_database:
            await self.postgres.create_database(DATABASE)
            url = self.postgres.url(DATABASE)
            await self.postgres.until_done(lambda: migrations.upgrade(url))
        return is_new


def prepare(
    stack: ExitStack,
    settings: Settings,
    data_dir: Path,
    listener: socket.socket,
    *,
    with_worker: bool,
    log: Path | None,
) -> Parts:
    """Take what the parts need for themselves; raise ConfigurationError where somebody else has it."""
    has_database = settings.configured_database() is None
    # Nothing of ours but its one database goes into a database server of the operator's.
    needs_prefect = not os.environ.get("PREFECT_API_URL")
    prefect_listener = None
    if needs_prefect:
        prefect_listener = stack.enter_context(listen_for_prefect(settings, data_dir))
    postgres = None
    if has_database or needs_prefect:
        postgres = EmbeddedPostgres(data_dir / "postgres")
        postgres.prepare()
    prefect = None
    environment: dict[str, str] = {}
    if postgres is not None and prefect_listener is not None:
        prefect = EmbeddedPrefect(
            data_dir / "prefect", postgres, prefect_listener, log=log, with_route=settings.prefect_route
        )
        environment |= prefect.client_environment()
    if postgres is not None and has_database:
        environment[f"{PREFIX}DB_DSN"] = postgres.url(DATABASE).render_as_string(hide_password=False)
    theirs = {**os.environ, **_as_environment(settings), **environment}
    name = settings.worker_name or _worker_name(data_dir)
    return Parts(
        postgres=postgres,
        prefect=prefect,
        has_database=has_database,
        environment=environment,
        api=[_api(settings, listener, theirs, log) for _ in range(settings.workers_count)],
        worker=_worker({**theirs, f"{PREFIX}WORKER_NAME": name}, log) if with_worker else None,
    )


def listen_for_prefect(settings: Settings, data_dir: Path) -> socket.socket:
    """Return a listener on the configured port; without one, on the one from before or else on a free one."""
    variable = f"{PREFIX}PREFECT_PORT"
    if settings.prefect_port is not None:
        return listen(LOOPBACK, settings.prefect_port, variable)
    remembered = data_dir / "prefect_port"
    before = remembered.read_bytes() if remembered.exists() else b""
    port = int(before) if before.isdigit() and int(before) < 1 << 16 else PREFECT_PORT
    try:
        listener = listen(LOOPBACK, port, variable)
    except ConfigurationError:
        listener = listen(LOOPBACK, 0, variable)  # of another server on this machine
    # Kept, for bookmarks and for whoever has it in a configuration.
    private_files.write(remembered, str(listener.getsockname()[1]))
    return listener


def _worker(environment: Mapping[str, str], log: Path | None) -> Child:
    return Child(
        "The worker",
        [sys.executable, "-m", "api", "worker"],
        environment={**_WORKER_DEFAULTS, **environment},
        stop_signals=STOP_SIGNALS,
        log=log,
    )


def _api(
    settings: Settings, listener: socket.socket, environment: Mapping[str, str], log: Path | None
) -> Child:
    options = [f"--log-level={settings.log_level.lower()}"]
    if settings.log_level in {"DEBUG", "INFO"}:
        options.append("--access-log")
    return Child(
        "The API",
        asgi.command(API, listener, *options),
        environment=environment,
        stop_signals=STOP_SIGNALS,
        pass_fds=[listener.fileno()],
        log=log,
    )


def _worker_name(data_dir: Path) -> str:
    """Return what the worker of this data directory was called when it was started first.

    Its jobs and commands are found by the name, and a machine's name may change: each new container has
    another one.
    """
    return private_files.kept(data_dir / "worker_name", default_worker_name).strip()


def _as_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as variables, so that our processes have the same ones wherever they came from."""
    return {
        f"{PREFIX}{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings
        if value is not None
    }
