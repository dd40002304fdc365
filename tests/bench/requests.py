"""Small requests: what visitors poll, and quick commands."""

import asyncio
import statistics
import time

from tests.bench.measuring import row, running
from tests.bench.wire import Connection
from tests.e2e.service import Service

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


async def quick_commands(commands: int) -> None:
    async with running(2, more=QUICK) as service:
        job_id = await service.run("true")
        await service.ended(job_id)
        times = [await _quick(service, job_id) for _ in range(commands)]
        row("(k) interactive echo, median", f"{statistics.median(times) * 1000:.0f} ms")


async def _quick(service: Service, job_id: int) -> float:
    started = time.monotonic()
    response = await service.client.post(f"/api/job/{job_id}/interactive/echo", json={"text": "x"})
    assert response.json()["stdout"] == "x\n"
    return time.monotonic() - started
