"""Jobs from submission to end, what they cost, and many that wait."""

import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import processes, stock
from tests.bench.checkouts import HERE, Checkout
from tests.bench.figures import Figure
from tests.bench.measuring import MIB, README, cpu_seconds, memory, row, running
from tests.bench.processes import shares
from tests.bench.wire import Connection
from tests.e2e.service import Service

ARCHIVE = Service.archive(README)
POLL = 0.1
AT_ONCE = 20

_CALM = 0.15
"""Of one core: all processes together use less when nothing is left to do."""

_CALM_SECONDS = 900.0
_LOOK_SECONDS = 10.0


async def to_the_end(client: Connection, poll: float) -> float:
    """Submit a word count and wait for it; return the seconds that took."""
    started = time.monotonic()
    path = await client.submit(ARCHIVE, "wc")
    while (job := json.loads(await client.get(path)))["state"] not in {"ok", "error"}:
        await asyncio.sleep(poll)
    assert job["state"] == "ok", job
    return time.monotonic() - started


async def jobs_per_second(service: Service, jobs: int, clients: int) -> float:
    left = iter(range(jobs))

    async def visitor() -> None:
        async with Connection(service) as client:
            for _ in left:
                await to_the_end(client, POLL)

    started = time.monotonic()
    await asyncio.gather(*(visitor() for _ in range(clients)))
    return jobs / (time.monotonic() - started)


async def bare_runs_per_second(service: Service, runs: int) -> float:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bare", str(runs), str(AT_ONCE)),
        cwd=HERE.path,
        env={**os.environ, **service.environment, "PREFECT_LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return float(output)


async def throughput(checkout: Checkout, *, jobs: int, rounds: int) -> Sequence[Figure]:
    async with running(50, checkout=checkout) as service:
        ours, bare, costs = [], [], []
        for _ in range(rounds):
            bare.append(await bare_runs_per_second(service, jobs))
            before = processes.cpu(service.pid)
            ours.append(await jobs_per_second(service, jobs, AT_ONCE))
            spent = processes.used(before, processes.cpu(service.pid))
            costs.append({part: seconds / jobs * 1000 for part, seconds in spent.items()})
    cost = sorted(costs, key=lambda parts: sum(parts.values()))[len(costs) // 2]
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    return [
        Figure(f"(a) jobs per second, submit to ok, {AT_ONCE} clients", statistics.median(ours), digits=1),
        Figure("(a) bare flow of five tasks, runs per second", statistics.median(bare), digits=1),
        Figure("(a) ratio to the bare flow", statistics.median(ratios), digits=2),
        Figure("(a) CPU a job, all processes", sum(cost.values()), "ms", 0, shares(cost)),
    ]


async def twice_as_many(checkout: Checkout, *, jobs: int, rounds: int) -> Sequence[Figure]:
    """Workers and processes of the API: one of each, two of each, in turn."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, found in rates.items():
            async with running(50, checkout=checkout, processes=count) as service:
                found.append(await jobs_per_second(service, jobs, AT_ONCE * 2))
    ratios = [two / one for one, two in zip(*rates.values(), strict=True)]
    one, two = (statistics.median(found) for found in rates.values())
    return [
        Figure(f"(p) jobs per second, one worker and API process, {AT_ONCE * 2} clients", one, digits=1),
        Figure("(p) the same, two of each", two, digits=1),
        Figure("(p) ratio of two to one", statistics.median(ratios), digits=2),
    ]


async def beside_stock_worker(runs: int) -> None:
    async with running(50) as service:
        row("(a) stock process worker, runs per second", f"{await stock.runs_per_second(service, runs):.2f}")


async def latency(checkout: Checkout, *, jobs: int) -> Sequence[Figure]:
    async with running(50, checkout=checkout) as service, Connection(service) as client:
        seconds = [await to_the_end(client, poll=0.01) for _ in range(jobs)]
    median = statistics.median(seconds) * 1000
    return [Figure("(b) PUT to ok of one wc, idle server, median", median, "ms")]


async def lists(checkout: Checkout, *, jobs: int, times: int) -> Sequence[Figure]:
    async with running(jobs, checkout=checkout) as service, Connection(service) as client:
        await _sleeping(service, jobs)
        seconds = [await client.seconds(f"/api/job/?limit={jobs}") for _ in range(times)]
        _end_commands(service)
    return [
        Figure(f"(i) list of {jobs} active jobs, median", statistics.median(seconds) * 1000, "ms", digits=1)
    ]


async def waiting(checkout: Checkout, *, jobs: int) -> Sequence[Figure]:
    async with running(jobs, checkout=checkout) as service:
        worker = next(iter(processes.pids_of(service.pid, "worker")))
        before = memory(worker)
        started = time.monotonic()
        await _sleeping(service, jobs)
        took = time.monotonic() - started
        told = await _until_calm(service)
        cpu, started = cpu_seconds(worker), time.monotonic()
        await asyncio.sleep(10)
        share = (cpu_seconds(worker) - cpu) / (time.monotonic() - started)
        whole = processes.proportional_memory(service.pid)
        threads = len(list(Path(f"/proc/{worker}/task").iterdir()))
        size = memory(worker)
        _end_commands(service)
    return [
        Figure(f"(c) worker memory, {jobs} jobs", size / MIB, "MiB", 0, f"{before / MIB:.0f} of it idle"),
        Figure("(c) worker memory for each of them", (size - before) / jobs / 1024, "KiB"),
        Figure("(c) worker CPU while they wait", share * 100, "%", digits=1),
        Figure("(c) worker threads", threads),
        Figure("(c) until all run", took, "s", 0, f"{told:.0f} s more until Prefect knows all of it"),
        Figure("(c) memory of all processes then, PSS", sum(whole.values()), "MiB", 0, shares(whole)),
    ]


async def _sleeping(service: Service, jobs: int) -> None:
    """Have so many jobs that run; each is two processes: the wrapper, and a command that became its sleep."""
    archive = Service.archive({"script.sh": "exec sleep 600"})
    left = iter(range(jobs))

    async def visitor() -> None:
        async with Connection(service) as client:
            for path in [await client.submit(archive, "alone") for _ in left]:
                while (job := json.loads(await client.get(path)))["state"] != "running":
                    assert job["state"] not in {"ok", "error"}, job
                    await asyncio.sleep(0.2)

    await asyncio.gather(*(visitor() for _ in range(8)))


async def _until_calm(service: Service) -> float:
    """Wait until what the start of jobs left to do is done; return the seconds that it took."""
    began = time.monotonic()
    while True:
        before, started = processes.cpu(service.pid), time.monotonic()
        await asyncio.sleep(_LOOK_SECONDS)
        spent = sum(processes.used(before, processes.cpu(service.pid)).values())
        if spent / (time.monotonic() - started) < _CALM or started - began > _CALM_SECONDS:
            return started - began


def _end_commands(service: Service) -> None:
    for process in (service.data_dir / "commands").glob("*/local/*/process"):
        os.killpg(int(process.read_text().split()[0]), signal.SIGKILL)
