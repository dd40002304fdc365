"""``bartender serve``: everything that is not configured, a worker and the API, under one process."""

import asyncio
import logging
import os
import shlex
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from deployments import garbage, loopback, migrations
from deployments.registration.names import default_worker_name
from deployments.serving import asgi
from deployments.serving.listening import answers, base_url, listen
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect
from deployments.serving.processes import Child
from deployments.settings import PREFIX, Settings
from flows.disk import locks, private_files
from flows.errors import ConfigurationError

logger = logging.getLogger(__name__)

API = "api.app:create_app"
DATABASE = "bartender"
LOOPBACK = "127.0.0.1"
PREFECT_PORT = 4200
"""Of the embedded server, where none is configured and this one is free."""
START_SECONDS = 60.0
_PUBLISH_SECONDS = 2 * START_SECONDS  # PostgreSQL, then all the others
STOP_SIGNALS = ((signal.SIGTERM, 2.5),)
"""With those of the Prefect server, all but PostgreSQL has ended in less than 10 s."""

_NO_PROXY = (
    'no_proxy="${no_proxy:-${NO_PROXY-}}"; '
    f'export no_proxy="{",".join(loopback.HOSTS)}${{no_proxy:+,$no_proxy}}"\n'
)
"""For Prefect's own commands, which would look for us beyond the proxy of the shell that they run in."""

_WORKER_DEFAULTS = {"PREFECT_LOGGING_TO_API_ENABLED": "false", "PREFECT_LOGGING_LEVEL": "WARNING"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Where the running parts are. ``prefect_login_file`` is None for a Prefect server that is not ours."""

    url: str
    prefect_url: str
    prefect_login_file: Path | None

    def describe(self) -> str:
        """Return lines for the terminal."""
        login = f"  (log in with what is in {self.prefect_login_file})" if self.prefect_login_file else ""
        return f"API documentation  {self.url}/api/docs\nPrefect's UI       {self.prefect_url}{login}"


@asynccontextmanager
async def running(
    settings: Settings, *, with_worker: bool, log: Path | None = None
) -> AsyncIterator[Service]:
    """Keep everything running inside of the block. ``log`` gets what the processes write, else the terminal.

    Raises ConfigurationError before anything is started for what can be known before.
    """
    data_dir = settings.data_dir.resolve()
    private_files.make_directory(data_dir)
    async with AsyncExitStack() as stack:
        # In this order, so that all ends in the reverse one: API, worker, Prefect server, PostgreSQL.
        way_out = f"stop it or set {PREFIX}DATA_DIR to another directory"
        stack.enter_context(locks.exclusive(_lock(data_dir), way_out))
        _environment(data_dir).unlink(missing_ok=True)  # of a server that was killed
        listener = stack.enter_context(listen(settings.host, settings.port, f"{PREFIX}PORT"))
        parts = await _start_embedded(stack, settings, data_dir, log)
        environment = {**os.environ, **_as_environment(settings), **parts.environment}
        if with_worker:
            name = settings.worker_name or _worker_name(data_dir)
            await _start_worker(stack, {**environment, f"{PREFIX}WORKER_NAME": name}, log)
        await _start_api(stack, settings, listener, environment, log)
        if parts.prefect is not None:
            await parts.prefect.wait_until_ready()
        _publish(stack, data_dir, parts.environment)
        garbage.begin()
        yield Service(
            url=base_url(listener),
            prefect_url=parts.prefect.ui_url
            if parts.prefect
            else os.environ["PREFECT_API_URL"].removesuffix("/api"),
            prefect_login_file=parts.prefect.login_file if parts.prefect else None,
        )


async def until_signal(work: Coroutine[Any, Any, int]) -> int | None:
    """Await ``work`` and return its result, or None when SIGINT or SIGTERM ended it.

    Only the first signal counts: those that follow must not interrupt the ending.
    """
    task = asyncio.ensure_future(work)
    signals: list[signal.Signals] = []

    def end(number: signal.Signals) -> None:
        if not signals:
            task.cancel()
        signals.append(number)

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, end, number)
    try:
        return await task
    except asyncio.CancelledError:
        if signals:
            return None
        raise


def environment_of_running(data_dir: Path) -> dict[str, str] | None:
    """Return the variables by which other processes reach a running server's parts, if one runs.

    One that starts is waited for. Raises ConfigurationError when that takes too long.
    """
    deadline = time.monotonic() + _PUBLISH_SECONDS
    while (holder := locks.holder(_lock(data_dir))) is not None:
        with suppress(FileNotFoundError):
            lines = _environment(data_dir).read_text(encoding="utf-8").splitlines()
            values = [shlex.split(line)[1] for line in lines if line + "\n" != _NO_PROXY]
            return dict(value.split("=", 1) for value in values)
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"{data_dir}: the server there, process {holder}, is not ready yet; run this again when it "
                "has said where its API is"
            )
        time.sleep(0.1)
    return None


@dataclass(frozen=True, slots=True)
class _Embedded:
    prefect: EmbeddedPrefect | None
    environment: dict[str, str]


async def _start_embedded(
    stack: AsyncExitStack, settings: Settings, data_dir: Path, log: Path | None
) -> _Embedded:
    configured = settings.configured_database()
    # Nothing of ours but its one database goes into a database server of the operator's.
    postgres = EmbeddedPostgres(data_dir / "postgres")
    prefect = None
    if not os.environ.get("PREFECT_API_URL"):
        listener = stack.enter_context(_listen_for_prefect(settings, data_dir))
        prefect = EmbeddedPrefect(
            data_dir / "prefect", postgres, listener, log=log, with_route=settings.prefect_route
        )
    if configured is not None:
        await migrations.check(configured)
    environment: dict[str, str] = {}
    if configured is None or prefect is not None:
        await postgres.start()
        stack.push_async_callback(postgres.stop)
    if prefect is not None:
        stack.push_async_callback(prefect.stop)
        await prefect.start()
        environment |= prefect.client_environment()
    if configured is None:
        await postgres.create_database(DATABASE)
        await postgres.until_done(lambda: migrations.upgrade(postgres.url(DATABASE)))
        environment[f"{PREFIX}DB_DSN"] = postgres.url(DATABASE).render_as_string(hide_password=False)
    return _Embedded(prefect, environment)


def _listen_for_prefect(settings: Settings, data_dir: Path) -> socket.socket:
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


async def _start_worker(stack: AsyncExitStack, environment: Mapping[str, str], log: Path | None) -> None:
    worker = Child(
        "The worker",
        [sys.executable, "-m", "api", "worker"],
        environment={**_WORKER_DEFAULTS, **environment},
        stop_signals=STOP_SIGNALS,
        log=log,
    )
    stack.push_async_callback(worker.stop)
    await worker.start()


async def _start_api(
    stack: AsyncExitStack,
    settings: Settings,
    listener: socket.socket,
    environment: Mapping[str, str],
    log: Path | None,
) -> None:
    level = settings.log_level.lower()
    options = [f"--log-level={level}"]
    if settings.log_level in {"DEBUG", "INFO"}:
        options.append("--access-log")
    children = [
        Child(
            "The API",
            asgi.command(API, listener, *options),
            environment=environment,
            stop_signals=STOP_SIGNALS,
            pass_fds=[listener.fileno()],
            log=log,
        )
        for _ in range(settings.workers_count)
    ]
    stack.push_async_callback(_stop_all, children)
    for child in children:
        await child.start()
    for child in children:
        await child.wait_until(lambda: answers(listener, "/api/health"), seconds=START_SECONDS)


async def _stop_all(children: list[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


def _lock(data_dir: Path) -> Path:
    return data_dir / "lock"


def _environment(data_dir: Path) -> Path:
    return data_dir / "environment"


def _worker_name(data_dir: Path) -> str:
    """Return what the worker of this data directory was called when it was started first.

    Its jobs and commands are found by the name, and a machine's name may change: each new container has
    another one.
    """
    remembered = data_dir / "worker_name"
    if not remembered.exists():
        private_files.write(remembered, default_worker_name())
    return remembered.read_text(encoding="utf-8").strip()


def _publish(stack: AsyncExitStack, data_dir: Path, environment: Mapping[str, str]) -> None:
    """Let workers and operators on this machine find the embedded parts; a shell can source the file."""
    path = _environment(data_dir)
    lines = [shlex.quote(f"{name}={value}") for name, value in environment.items()]
    content = "".join(f"export {line}\n" for line in lines)
    private_files.write(path, content + _NO_PROXY)
    stack.callback(path.unlink, missing_ok=True)


def _as_environment(settings: Settings) -> dict[str, str]:
    """Return the settings as variables, so that our processes have the same ones wherever they came from."""
    return {
        f"{PREFIX}{name.upper()}": value.get_secret_value() if isinstance(value, SecretStr) else str(value)
        for name, value in settings
        if value is not None
    }
