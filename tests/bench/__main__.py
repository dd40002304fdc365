"""``make bench``: the table of docs/performance.md, on this machine. Loopback only; ends by itself."""

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from prefect.client.orchestration import PrefectClient

from tests.bench import files, requests, slurm, staging
from tests.bench.measuring import README, cpu_seconds, memory, row, running
from tests.e2e.conftest import prefect_client
from tests.e2e.service import Service, until

CHECKOUT = Path(__file__).parent.parent.parent


async def to_the_end(service: Service, poll: float) -> float:
    """Submit a word count and wait for it; return the seconds that took."""
    started = time.monotonic()
    job_id = await service.submit(README, "wc")
    while (job := await service.job(job_id))["state"] not in {"ok", "error"}:
        await asyncio.sleep(poll)
    assert job["state"] == "ok", job
    return time.monotonic() - started


async def jobs_per_second(service: Service, jobs: int, concurrency: int) -> float:
    limit = asyncio.Semaphore(concurrency)

    async def one() -> None:
        async with limit:
            await to_the_end(service, poll=0.1)

    started = time.monotonic()
    await asyncio.gather(*(one() for _ in range(jobs)))
    return jobs / (time.monotonic() - started)


async def bare_runs_per_second(service: Service, runs: int, concurrency: int) -> float:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.bare", str(runs), str(concurrency)),
        cwd=CHECKOUT,
        env={**os.environ, **service.environment, "PREFECT_LOGGING_LEVEL": "ERROR"},
        stdout=subprocess.PIPE,
    )
    output, _ = await process.communicate()
    return float(output)


async def stock_worker_runs_per_second(service: Service, runs: int) -> float:
    """Return what ``prefect worker start --type process`` reaches with the bare flow."""
    environment = {**os.environ, **service.environment, "PREFECT_LOGGING_LEVEL": "ERROR"}
    prefect = str(Path(sys.executable).parent / "prefect")

    async def command(*arguments: str) -> None:
        process = await asyncio.create_subprocess_exec(
            prefect, "--no-prompt", *arguments, cwd=CHECKOUT, env=environment, stdout=subprocess.DEVNULL
        )
        assert await process.wait() == 0

    await command("work-pool", "create", "stock", "--type", "process")
    await command("deploy", "tests/bench/bare.py:bare", "--name", "stock", "--pool", "stock")
    worker = await asyncio.create_subprocess_exec(
        *(prefect, "worker", "start", "--pool", "stock", "--limit", "4"),
        cwd=CHECKOUT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        async with prefect_client(service) as client:
            await _stock_runs(client, 4)  # warm up
            started = time.monotonic()
            await _stock_runs(client, runs)
            return runs / (time.monotonic() - started)
    finally:
        worker.terminate()
        await worker.wait()


async def _stock_runs(client: PrefectClient, runs: int) -> None:
    deployment = await client.read_deployment_by_name("bare/stock")
    ids = [
        (await client.create_flow_run_from_deployment(deployment.id, parameters={"number": n})).id
        for n in range(runs)
    ]
    for flow_run_id in ids:

        async def is_over(flow_run_id: object = flow_run_id) -> bool:
            state = (await client.read_flow_run(flow_run_id)).state  # type: ignore[arg-type]
            return state is not None and state.is_final()

        await until(is_over, 300)


async def throughput(runs: int, rounds: int) -> None:
    async with running(50) as service:
        ours, bare = [], []
        for _ in range(rounds):
            bare.append(await bare_runs_per_second(service, runs, 20))
            ours.append(await jobs_per_second(service, runs, 20))
        ratios = [a / b for a, b in zip(ours, bare, strict=True)]
        row("(a) jobs per second, submit to ok, concurrency 20", f"{statistics.median(ours):.1f}")
        row("(a) bare flow of five tasks, runs per second", f"{statistics.median(bare):.1f}")
        row("(a) ratio to the bare flow", f"{statistics.median(ratios):.2f}")
        stock = await stock_worker_runs_per_second(service, 20)
        row("(a) stock process worker, runs per second", f"{stock:.2f}")
        row("(a) ratio to the stock process worker", f"{statistics.median(ours) / stock:.1f}")


async def latency(jobs: int) -> None:
    async with running(50) as service:
        seconds = [await to_the_end(service, poll=0.01) for _ in range(jobs)]
        row("(b) PUT to ok of one wc, idle server, median", f"{statistics.median(seconds) * 1000:.0f} ms")


async def waiting(jobs: int) -> None:
    async with running(jobs) as service:
        worker = service.pid_of("worker")
        assert worker is not None
        before = memory(worker)
        limit = asyncio.Semaphore(8)

        async def submit() -> int:
            async with limit:
                return await service.run("sleep 600")

        ids = await asyncio.gather(*(submit() for _ in range(jobs)))
        for job_id in ids:
            await service.state_is(job_id, "running")
        await asyncio.sleep(10)  # until what their start left to do is done
        cpu, started = cpu_seconds(worker), time.monotonic()
        await asyncio.sleep(10)
        share = (cpu_seconds(worker) - cpu) / (time.monotonic() - started)
        row(
            f"(c) worker memory for each of {jobs} jobs", f"{(memory(worker) - before) / jobs / 1024:.0f} KiB"
        )
        row("(c) worker memory", f"{memory(worker) / 2**20:.0f} MiB, of which {before / 2**20:.0f} MiB idle")
        row("(c) worker CPU while they wait", f"{share * 100:.1f} %")
        row("(c) worker threads", f"{len(list(Path(f'/proc/{worker}/task').iterdir()))}")
        for process in (service.data_dir / "commands").glob("*/local/*/process"):
            os.killpg(int(process.read_text().split()[0]), signal.SIGKILL)


async def calls(jobs: int) -> None:
    # At this level our processes log each call they make to the Prefect server.
    async with running(50, "DEBUG") as service:
        for name, concurrency in (("one at a time", 1), ("concurrency 20", 20)):
            before, started = count_calls(service), time.monotonic()
            await jobs_per_second(service, jobs, concurrency)
            calls = count_calls(service) - before
            seconds = time.monotonic() - started
            row(f"(d) calls to the Prefect API per job, {name}", f"{calls / jobs:.1f} ({seconds:.0f} s)")


def count_calls(service: Service) -> int:
    return service.log().count(f"HTTP Request: POST {service.environment['PREFECT_API_URL']}") + sum(
        service.log().count(f"HTTP Request: {method} {service.environment['PREFECT_API_URL']}")
        for method in ("GET", "PATCH", "PUT", "DELETE")
    )


async def accepting(puts: int) -> None:
    async with running(50) as service:
        # Enough jobs for the worker to be busy all the while.
        for _ in range(100):
            await service.submit(README, "wc")
        seconds: list[float] = []
        limit = asyncio.Semaphore(8)

        async def put() -> None:
            async with limit:
                started = time.monotonic()
                await service.submit(README, "wc")
                seconds.append(time.monotonic() - started)

        started = time.monotonic()
        await asyncio.gather(*(put() for _ in range(puts)))
        rate = puts / (time.monotonic() - started)
        p99 = statistics.quantiles(seconds, n=100)[98]
        row("(e) PUTs accepted per second, 8 clients, worker busy", f"{rate:.0f}")
        row("(e) their p99", f"{p99 * 1000:.0f} ms")


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=list("abcdefhjklm"))
    parts = parser.parse_args().parts
    print("| what | figure |\n|---|---|")
    measures: dict[str, Callable[[], Awaitable[None]]] = {
        "a": lambda: throughput(200, 3),
        "b": lambda: latency(30),
        "c": lambda: waiting(1000),
        "d": lambda: calls(50),
        "e": lambda: accepting(400),
        "f": files.downloads_and_listings,
        "h": lambda: requests.polling(10),
        "j": files.upload,
        "k": lambda: requests.quick_commands_and_rest(30),
        "l": lambda: staging.staging(3),
        "m": lambda: slurm.cluster_jobs(300, 20),
    }
    for part in parts:
        await measures[part]()


if __name__ == "__main__":
    asyncio.run(main())
