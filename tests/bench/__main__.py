"""``make bench``: the table of docs/performance.md, on this machine. Loopback only; ends by itself."""

import argparse
import asyncio
import signal
import statistics
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from tests.bench import files, jobs, pilots, requests, slurm, staging, starting, transfers
from tests.bench.checkouts import Checkout
from tests.bench.figures import Measure, alone, in_turn
from tests.bench.measuring import README, row, running
from tests.e2e.service import Service

ROUNDS = 3

WAITING = 1000
"""Jobs of row (c), where nothing else is said."""


async def calls(count: int) -> None:
    # At this level our processes log each call they make to the Prefect server.
    async with running(50, "DEBUG") as service:
        for name, concurrency in (("one at a time", 1), ("concurrency 20", 20)):
            before, started = count_calls(service), time.monotonic()
            await jobs.jobs_per_second(service, count, concurrency)
            made = count_calls(service) - before
            seconds = time.monotonic() - started
            row(f"(d) calls to the Prefect API per job, {name}", f"{made / count:.1f} ({seconds:.0f} s)")


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


def compared(waiting: int) -> Mapping[str, Sequence[Measure]]:
    """Return what can be taken of another checkout, too, by row."""
    return {
        "a": [partial(jobs.throughput, jobs=200, rounds=1)],
        "b": [partial(jobs.latency, jobs=30)],
        "c": [partial(jobs.waiting, jobs=waiting)],
        "i": [partial(jobs.lists, jobs=100, times=100)],
        "k": [starting.starts, starting.demo, partial(starting.rest, seconds=60)],
        "p": [partial(jobs.twice_as_many, jobs=400, rounds=1)],
    }


def of_this_checkout(waiting: int) -> Mapping[str, Sequence[Callable[[], Awaitable[None]]]]:
    rows = {row: [partial(alone, measure) for measure in of] for row, of in compared(waiting).items()}
    throughput = partial(jobs.throughput, jobs=200, rounds=ROUNDS)
    return {
        "a": [lambda: alone(throughput), lambda: jobs.beside_stock_worker(20)],
        "b": rows["b"],
        "c": rows["c"],
        "d": [lambda: calls(50)],
        "e": [lambda: accepting(400)],
        "f": [files.downloads_and_listings],
        "h": [lambda: requests.polling(10)],
        "i": rows["i"],
        "j": [files.upload],
        "k": [*rows["k"], lambda: requests.quick_commands(30)],
        "l": [lambda: staging.staging(3)],
        "m": [lambda: slurm.cluster_jobs(300, 20)],
        "n": [lambda: pilots.pilots(30)],
        "o": [lambda: transfers.transfers(3)],
        "p": [lambda: alone(partial(jobs.twice_as_many, jobs=400, rounds=ROUNDS))],
    }


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", nargs="*", help="only these, by their letters")
    parser.add_argument(
        "--against", type=Path, metavar="PATH", help="run another checkout in turn with this one"
    )
    parser.add_argument("--waiting", type=int, default=WAITING, metavar="JOBS", help="of row (c)")
    arguments = parser.parse_args()
    # So that no server of ours outlives us.
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    if arguments.against is None:
        await table(of_this_checkout(arguments.waiting), arguments.rows)
    else:
        await ratios(compared(arguments.waiting), arguments.rows, Checkout(arguments.against.resolve()))


async def table(work: Mapping[str, Sequence[Callable[[], Awaitable[None]]]], rows: Sequence[str]) -> None:
    print("| what | figure |\n|---|---|")
    for letter in rows or work:
        for part in work[letter]:
            await part()


async def ratios(measures: Mapping[str, Sequence[Measure]], rows: Sequence[str], other: Checkout) -> None:
    print("| what | here | there | ratio |\n|---|---|---|---|")
    for letter in rows or measures:
        for measure in measures[letter]:
            await in_turn(measure, other, ROUNDS)


if __name__ == "__main__":
    asyncio.run(main())
