"""``bartender serve``: everything that is not configured, a worker and the API, under one process."""

import asyncio
import logging
import os
import shlex
import signal
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployments import garbage, loopback, migrations
from deployments.serving import parts
from deployments.serving.listening import answers, base_url, listen
from deployments.serving.nursery import Nursery, is_possible
from deployments.serving.parts import Parts
from deployments.serving.processes import Child
from deployments.settings import PREFIX, Settings
from flows.disk import locks, private_files
from flows.errors import ConfigurationError
from flows.waiting.cancelling import cancel

logger = logging.getLogger(__name__)

START_SECONDS = 60.0
_PUBLISH_SECONDS = 2 * START_SECONDS  # PostgreSQL, then all the others

_NO_PROXY = (
    'no_proxy="${no_proxy:-${NO_PROXY-}}"; '
    f'export no_proxy="{",".join(loopback.HOSTS)}${{no_proxy:+,$no_proxy}}"\n'
)
"""For Prefect's own commands, which would look for us beyond the proxy of the shell that they run in."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """Where the running parts are. ``prefect_login_file`` is None for a Prefect server that is not ours."""

    url: str
    prefect_url: str
    prefect_login_file: Path | None
    rest: asyncio.Task[None]

    async def wait_for_rest(self) -> None:
        """Return when the other parts answer too; ConfigurationError where one of them does not start."""
        await asyncio.shield(self.rest)

    def describe(self) -> str:
        """Return lines for the terminal."""
        login = f"  (log in with what is in {self.prefect_login_file})" if self.prefect_login_file else ""
        return f"API documentation  {self.url}/api/docs\nPrefect's UI       {self.prefect_url}{login}"


@asynccontextmanager
async def running(
    settings: Settings, *, with_worker: bool, log: Path | None = None
) -> AsyncIterator[Service]:
    """Keep everything running inside of the block. ``log`` gets what the processes write, else the terminal.

    The API takes uploads when the block begins; the rest may still start. Raises ConfigurationError before
    anything is started for what can be known before.
    """
    data_dir = settings.data_dir.resolve()
    private_files.make_directory(data_dir)
    async with AsyncExitStack() as stack:
        way_out = f"stop it or set {PREFIX}DATA_DIR to another directory"
        stack.enter_context(locks.exclusive(_lock(data_dir), way_out))
        _environment(data_dir).unlink(missing_ok=True)  # of a server that was killed
        listener = stack.enter_context(listen(settings.host, settings.port, f"{PREFIX}PORT"))
        held = stack.enter_context(ExitStack())
        all_of_it = parts.prepare(held, settings, data_dir, listener, with_worker=with_worker, log=log)
        if all_of_it.postgres is not None:
            stack.push_async_callback(all_of_it.postgres.stop)
        if (configured := settings.configured_database()) is not None:
            await migrations.check(configured)
        rest = await _start(stack, all_of_it, listener, data_dir)
        prefect = all_of_it.prefect
        yield Service(
            url=base_url(listener),
            prefect_url=prefect.ui_url if prefect else os.environ["PREFECT_API_URL"].removesuffix("/api"),
            prefect_login_file=prefect.login_file if prefect else None,
            rest=rest,
        )


async def _start(
    stack: AsyncExitStack, all_of_it: Parts, listener: socket.socket, data_dir: Path
) -> asyncio.Task[None]:
    """Return when the API answers; the task is done when all does."""
    start: Callable[[Child], Awaitable[None]] = Child.start
    nursery = None
    # First of all: it imports while PostgreSQL starts, and must be made before there are any threads.
    if is_possible():
        nursery = Nursery(all_of_it.births)
        stack.push_async_callback(nursery.close)
        start = nursery.start
    prefect, worker = all_of_it.prefect, all_of_it.worker
    # In this order, so that all ends in the reverse one: API, worker, Prefect server, PostgreSQL.
    others = [*([prefect.child] if prefect else []), *([worker] if worker else [])]
    if prefect is not None:
        stack.push_async_callback(prefect.stop)
    if worker is not None:
        stack.push_async_callback(worker.stop)
    stack.push_async_callback(_stop_all, all_of_it.api)
    is_new = await all_of_it.start_databases()
    if nursery is not None:
        nursery.go()
    for child in all_of_it.api:
        await start(child)

    async def start_rest() -> None:
        for child in reversed(others):
            await start(child)
        if nursery is not None:
            await nursery.close()
        if prefect is not None:
            await prefect.wait_until_ready()
        _publish(stack, data_dir, all_of_it.environment)
        garbage.begin()

    rest = asyncio.create_task(start_rest(), name="start of the rest")
    stack.push_async_callback(cancel, [rest])
    for child in all_of_it.api:
        await child.wait_until(lambda: answers(listener, "/api/health"), seconds=START_SECONDS)
    if is_new:
        await rest  # who stops it now might leave Prefect's tables half made
    return rest


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


async def _stop_all(children: list[Child]) -> None:
    await asyncio.gather(*(child.stop() for child in children))


def _lock(data_dir: Path) -> Path:
    return data_dir / "lock"


def _environment(data_dir: Path) -> Path:
    return data_dir / "environment"


def _publish(stack: AsyncExitStack, data_dir: Path, environment: Mapping[str, str]) -> None:
    """Let workers and operators on this machine find the embedded parts; a shell can source the file."""
    path = _environment(data_dir)
    lines = [shlex.quote(f"{name}={value}") for name, value in environment.items()]
    content = "".join(f"export {line}\n" for line in lines)
    private_files.write(path, content + _NO_PROXY)
    stack.callback(path.unlink, missing_ok=True)
