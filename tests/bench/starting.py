"""Starts on an existing data directory, and a server at rest."""

import asyncio
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress

import httpx

from tests.bench import processes
from tests.bench.checkouts import Checkout
from tests.bench.figures import Figure
from tests.bench.jobs import ARCHIVE
from tests.bench.measuring import running
from tests.bench.processes import shares
from tests.bench.wire import Connection
from tests.e2e.service import Service, free_port

SETTLING = 20.0
"""Seconds until what a start left to do is done."""

_STEP = 0.01


async def starts(checkout: Checkout) -> Sequence[Figure]:
    importing = await _seconds_of(checkout, "-c", "import prefect.flows")
    async with running(50, checkout=checkout) as service:
        await service.stop()
        started = time.monotonic()
        starting = asyncio.create_task(service.start())
        try:
            await _healthy(service)
            healthy = time.monotonic() - started
            async with Connection(service) as client:
                path = await client.submit(ARCHIVE, "wc")
                while json.loads(await client.get(path))["state"] not in {"ok", "error"}:
                    await asyncio.sleep(_STEP)
            first_end = time.monotonic() - started
        finally:
            await starting
    return [
        Figure("(k) start to the first 200 of /api/health", healthy, "s", digits=2),
        Figure('(k) ratio to python -c "import prefect.flows"', healthy / importing, digits=2),
        Figure("(k) start to the first job's ok", first_end, "s", digits=2),
    ]


async def _healthy(service: Service) -> None:
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        while True:
            with suppress(httpx.TransportError):
                if (await client.get("/api/health")).status_code == 200:
                    return
            await asyncio.sleep(_STEP)


async def demo(checkout: Checkout) -> Sequence[Figure]:
    """As ``make demo`` runs it, once the virtual environment is there."""
    with tempfile.TemporaryDirectory() as directory:
        for name in ("README.md", "config-example.yaml"):
            shutil.copy(checkout.path / name, directory)
        ports = {"BARTENDER_PORT": str(free_port()), "BARTENDER_PREFECT_PORT": str(free_port())}
        await _seconds_of(checkout, "-m", "api", "demo", directory=directory, **ports)
        again = await _seconds_of(checkout, "-m", "api", "demo", directory=directory, **ports)
    return [Figure("(k) make demo, the second time", again, "s", digits=2)]


async def _seconds_of(
    checkout: Checkout, *arguments: str, directory: str | None = None, **variables: str
) -> float:
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(checkout.python, *arguments),
        cwd=directory,
        env={**checkout.environment, **variables},
        stdout=subprocess.DEVNULL,
    )
    assert await process.wait() == 0
    return time.monotonic() - started


async def rest(checkout: Checkout, *, seconds: float) -> Sequence[Figure]:
    async with running(50, checkout=checkout) as service:
        await asyncio.sleep(SETTLING)
        before, started = processes.cpu(service.pid), time.monotonic()
        await asyncio.sleep(seconds)
        took = time.monotonic() - started
        spent = processes.used(before, processes.cpu(service.pid))
        busy = {part: cpu / took * 100 for part, cpu in spent.items()}
        sizes = processes.proportional_memory(service.pid)
        number = len(processes.pids(service.pid))
    return [
        Figure("(k) memory at rest, PSS of all processes", sum(sizes.values()), "MiB", 0, shares(sizes)),
        Figure("(k) processes at rest", number),
        Figure("(k) CPU at rest, of one core", sum(busy.values()), "%", 1, shares(busy, 1)),
    ]
