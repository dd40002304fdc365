"""A bare flow of five trivial tasks, which is what Prefect alone reaches."""

import asyncio
import sys
import tempfile
import time

from prefect import flow, task
from prefect.context import AsyncClientContext
from prefect.filesystems import LocalFileSystem
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings


@task
async def first(number: int) -> int:
    return number


@task
async def second(number: int) -> int:
    return number


@task
async def third(number: int) -> int:
    return number


@task
async def fourth(number: int) -> int:
    return number


@task
async def fifth(number: int) -> int:
    return number


@flow(persist_result=True)
async def bare(number: int) -> int:
    return await fifth(await fourth(await third(await second(await first(number)))))


async def measure(runs: int, concurrency: int) -> float:
    """Return runs per second, in the best set-up that needs no change of Prefect's engine."""
    with tempfile.TemporaryDirectory() as directory:
        storage = LocalFileSystem(basepath=directory)
        await storage.asave("bench-bare", overwrite=True)
        run = bare.with_options(result_storage=storage)
        limit = asyncio.Semaphore(concurrency)

        async def one(number: int) -> None:
            async with limit:
                await run(number)

        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            async with AsyncClientContext():
                await asyncio.gather(*(one(number) for number in range(concurrency)))  # warm up
                started = time.monotonic()
                await asyncio.gather(*(one(number) for number in range(runs)))
                return runs / (time.monotonic() - started)


if __name__ == "__main__":
    print(asyncio.run(measure(int(sys.argv[1]), int(sys.argv[2]))))
