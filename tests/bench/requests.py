"""Small requests: what visitors poll, quick commands, and a server at rest."""

import asyncio
import statistics
import time

import httpx

from tests.bench.measuring import MIB, memory, row, running
from tests.bench.wire import Connection
from tests.e2e.service import Service, until

QUICK = """
interactive_applications:
  echo:
    command_template: echo {{ text }}
    input_schema: {type: object, properties: {text: {type: string}}, required: [text]}
"""


async def polling(seconds: float) -> None:
    async with running(20) as service:
        ids = [await service.run("true") for _ in range(100)]
        for job_id in ids:
            await service.ended(job_id)
        times: list[float] = []
        end = time.monotonic() + seconds

        async def ask(job_id: int) -> None:
            async with Connection(service) as client:
                while time.monotonic() < end:
                    times.append(await client.seconds(f"/api/job/{job_id}"))

        await asyncio.gather(*(ask(job_id) for job_id in ids[:50]))
        p99 = statistics.quantiles(times, n=100)[98] * 1000
        row("(h) GET job, 50 clients, requests per second", f"{len(times) / seconds:.0f} (p99 {p99:.0f} ms)")
        async with Connection(service) as client:
            times = [await client.seconds("/api/job/?limit=100") for _ in range(100)]
        row("(i) list of 100 jobs, median", f"{statistics.median(times) * 1000:.1f} ms")


async def quick_commands_and_rest(commands: int) -> None:
    async with running(2, more=QUICK) as service:
        await asyncio.sleep(5)  # until what the start left to do is done
        sizes = {part: memory(service.pid_of(part) or 0) / MIB for part in ("api", "worker", "prefect")}
        shares = ", ".join(f"{part} {size:.0f}" for part, size in sizes.items())
        row("(k) memory at rest, MiB", f"{sum(sizes.values()):.0f} ({shares})")
        job_id = await service.run("true")
        await service.ended(job_id)
        times = [await _quick(service, job_id) for _ in range(commands)]
        row("(k) interactive echo, median", f"{statistics.median(times) * 1000:.0f} ms")
        await service.stop()
        started = time.monotonic()
        starting = asyncio.create_task(service.start())
        await until(lambda: _is_healthy(service))
        row("(k) start to the first 200 of /api/health", f"{time.monotonic() - started:.2f} s")
        await starting


async def _quick(service: Service, job_id: int) -> float:
    started = time.monotonic()
    response = await service.client.post(f"/api/job/{job_id}/interactive/echo", json={"text": "x"})
    assert response.json()["stdout"] == "x\n"
    return time.monotonic() - started


async def _is_healthy(service: Service) -> bool:
    try:
        return (await service.client.get("/api/health")).status_code == 200
    except httpx.TransportError:
        return False
