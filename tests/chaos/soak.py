"""``make soak``: many jobs through one server, to see that nothing grows with their number."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import create_async_engine

from tests.chaos.parts import postgres
from tests.e2e.service import PARTS, Service

CONFIG = """
applications:
  wc: {command_template: wc input}
destinations:
  local: {scheduler: {type: memory, slots: 50}, filesystem: {type: local}}
"""

VISITORS = 20
"""Each waits for the end of its job before the next: as fast as the server is, and no faster."""

# Bounds between the first measure and the last, whatever the number of jobs.
MORE_MEMORY = 60_000
"""KiB; caches of a few thousand entries and the allocator's slack, not what jobs leave."""
MORE_FILES = 20
BYTES_PER_JOB = 60_000
"""Rows of a job, its flow run, its five task runs and their events, with indexes."""

TRANSIENT = ("uploads", "results", "commands")


@dataclass(frozen=True)
class Measure:
    jobs: int
    memory: dict[str, int]
    descriptors: dict[str, int]
    databases: dict[str, int]
    tables: dict[str, int]
    files: dict[str, int]


async def measure(service: Service, jobs: int) -> Measure:
    processes = dict(named_processes(service))
    databases, tables = await sizes(service)
    return Measure(
        jobs,
        {name: resident(pid) for name, pid in processes.items()},
        {name: len(list(Path(f"/proc/{pid}/fd").iterdir())) for name, pid in processes.items()},
        databases,
        tables,
        {
            path.name: sum(1 for _ in path.rglob("*"))
            for path in sorted(service.data_dir.iterdir())
            if path.is_dir() and path.name not in {"postgres", "prefect"}
        },
    )


def named_processes(service: Service) -> Iterator[tuple[str, int]]:
    yield "serve", service.pid
    for name in PARTS:
        pid = service.pid_of(name)
        assert pid is not None
        yield name, pid
    yield from (("postgres", pid) for pid in postgres(service).pids())


def resident(pid: int) -> int:
    """In KiB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1])


async def sizes(service: Service) -> tuple[dict[str, int], dict[str, int]]:
    """Bytes of each database, and of the largest tables with their indexes."""
    ours = make_url(service.environment["BARTENDER_DB_DSN"])
    databases: dict[str, int] = {}
    tables: dict[str, int] = {}
    for url in (ours, ours.set(database="prefect")):
        engine = create_async_engine(url)
        try:
            async with engine.connect() as connection:
                databases[str(url.database)] = (
                    await connection.execute(text("SELECT pg_database_size(current_database())"))
                ).scalar_one()
                largest = await connection.execute(
                    text("SELECT relname, pg_total_relation_size(relid) FROM pg_stat_user_tables")
                )
                tables |= {f"{url.database}.{row[0]}": int(row[1]) for row in largest}
        finally:
            await engine.dispose()
    return databases, tables


async def run_jobs(service: Service, number: int) -> None:
    content = service.archive({"input": "some words\n" * 100})
    left = iter(range(number))

    async def visit() -> None:
        for _ in left:
            job = await service.ended(await service.submit_archive(content, "wc"))
            assert job["state"] == "ok", job

    await asyncio.gather(*(visit() for _ in range(VISITORS)))


def leaks(first: Measure, last: Measure) -> Iterator[str]:
    for name, memory in last.memory.items():
        if memory - first.memory[name] > MORE_MEMORY:
            yield f"{name} has {memory - first.memory[name]} KiB more"
    for name, descriptors in last.descriptors.items():
        if descriptors - first.descriptors[name] > MORE_FILES:
            yield f"{name} has {descriptors - first.descriptors[name]} more files open"
    jobs = last.jobs - first.jobs
    for name, size in last.databases.items():
        if size - first.databases[name] > BYTES_PER_JOB * jobs + 10_000_000:
            more = (size - first.databases[name]) // jobs
            yield f"the database {name} has grown by {more} bytes for each job"
    for name in TRANSIENT:
        if last.files.get(name, 0) > first.files.get(name, 0) + MORE_FILES:
            yield f"there are {last.files[name]} files in {name}"
    # input, stdout.txt, stderr.txt, returncode and the directory itself
    if last.files["jobs"] != 5 * last.jobs:
        yield f"there are {last.files['jobs']} files of {last.jobs} jobs"


def table(measures: list[Measure]) -> str:
    lines = [_row("jobs", [f"{m.jobs}" for m in measures])]
    for title, unit, factor in (
        ("memory", "MiB", 1024),
        ("descriptors", "open files", 1),
        ("databases", "MB", 1_000_000),
        ("files", "files", 1),
    ):
        for name in getattr(measures[-1], title):
            values = [getattr(m, title).get(name, 0) / factor for m in measures]
            lines.append(_row(f"{name}, {unit}", [f"{value:.1f}".removesuffix(".0") for value in values]))
    grown = {name: size - measures[0].tables.get(name, 0) for name, size in measures[-1].tables.items()}
    jobs = max(1, measures[-1].jobs - measures[0].jobs)
    for name in sorted(grown, key=lambda name: -grown[name])[:8]:
        lines.append(_row(f"{name}, bytes for each job", [f"{grown[name] / jobs:.0f}"]))
    return "\n".join(lines)


def _row(name: str, values: list[str]) -> str:
    return f"{name:45}" + "".join(f"{value:>10}" for value in values)


async def soak(jobs: int) -> int:
    directory = Path(tempfile.mkdtemp(prefix="bartender-soak-"))
    service = Service(directory, CONFIG)
    await service.start(BARTENDER_LOG_LEVEL="WARNING")
    try:
        warm_up = max(50, jobs // 10)
        await run_jobs(service, warm_up)
        await asyncio.sleep(5)  # what is written behind the jobs' backs
        measures = [await measure(service, warm_up)]
        parts = 4
        for part in range(1, parts + 1):
            began = time.monotonic()
            await run_jobs(service, jobs // parts)
            rate = jobs // parts / (time.monotonic() - began)
            print(f"{part} of {parts}: {rate:.1f} jobs/s", flush=True)
            if part == parts:
                await asyncio.sleep(15)
            measures.append(await measure(service, warm_up + part * (jobs // parts)))
    finally:
        await service.stop()
    print(table(measures))
    found = list(leaks(measures[0], measures[-1]))
    for leak in found:
        print(f"LEAK: {leak}")
    if found:
        print(f"logs and data: {directory}")
        return 1
    shutil.rmtree(directory)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.soak", description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    return asyncio.run(soak(parser.parse_args().jobs))


if __name__ == "__main__":
    sys.exit(main())
