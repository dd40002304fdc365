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
from tests.chaos.progress import told
from tests.e2e.conftest import prefect_client
from tests.e2e.service import PARTS, Service
from tests.e2e.upkeep_runs import ended, start

CONFIG = """
applications:
  wc: {command_template: wc input}
destinations:
  local: {scheduler: {type: memory, slots: 50}, filesystem: {type: local}}
retention_days: 0.00001
"""

ENVIRONMENT = {
    "BARTENDER_LOG_LEVEL": "WARNING",
    # Prefect keeps events by their age only: minutes here, where it is a week.
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "PT1M",
    "PREFECT_SERVER_SERVICES_DB_VACUUM_LOOP_SECONDS": "30",
}

VISITORS = 20
"""Each waits for the end of its job before the next: as fast as the server is, and no faster."""

# Bounds between the first measure and the last, whatever the number of jobs.
MORE_MEMORY = 60_000
"""KiB; caches of a few thousand entries and the allocator's slack, not what jobs leave."""
MORE_FILES = 20
BYTES_PER_JOB = 60_000
"""Rows of a job, its flow run, its five task runs and their events, with indexes."""

MORE_ROWS = 1.5
"""Times what a table had after the first part, that it may have after the last; both before the clean-up."""

PARTS_OF_SOAK = 4

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
    ended = 0

    async def visit() -> None:
        nonlocal ended
        for _ in left:
            job = await service.ended(await service.submit_archive(content, "wc"))
            assert job["state"] == "ok", job
            ended += 1

    async with told(lambda: f"{ended} of {number} jobs ended"):
        await asyncio.gather(*(visit() for _ in range(VISITORS)))


def leaks(first: Measure, filled: list[Measure], cleaned: list[Measure]) -> Iterator[str]:
    last = cleaned[-1]
    for name, memory in last.memory.items():
        if memory - first.memory[name] > MORE_MEMORY:
            yield f"{name} has {memory - first.memory[name]} KiB more"
    for name, descriptors in last.descriptors.items():
        if descriptors - first.descriptors[name] > MORE_FILES:
            yield f"{name} has {descriptors - first.descriptors[name]} more files open"
    jobs = filled[0].jobs - first.jobs
    for name, size in filled[0].databases.items():
        if size - first.databases[name] > BYTES_PER_JOB * jobs + 10_000_000:
            more = (size - first.databases[name]) // jobs
            yield f"the database {name} has grown by {more} bytes for each job"
    for name, size in filled[-1].tables.items():
        if size > MORE_ROWS * filled[0].tables.get(name, 0) + 5_000_000:
            yield f"{name} has grown from {filled[0].tables[name]} to {size} bytes in spite of the clean-up"
    for name in (*TRANSIENT, "jobs"):
        if last.files.get(name, 0) > first.files.get(name, 0) + MORE_FILES:
            yield f"there are {last.files[name]} files in {name}"


async def clean_up(service: Service) -> None:
    """Remove all jobs and flow runs that have ended, as the scheduled flow does when they are old."""
    async with prefect_client(service) as prefect:
        parameters = {"notice_days": 0, "leftovers_after_days": 0, "flow_runs_after_days": 0}
        run = await start(prefect, "clean-up", **parameters, upkeep_runs_after_days=0, at_most=1_000_000)
        run = await ended(prefect, run.id, 1800)
        assert run.state_name == "Completed", run.state
    print(run.state.message if run.state else "", flush=True)


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
    # From the first measure to the second nothing but events was cleaned up.
    grown = {name: size - measures[0].tables.get(name, 0) for name, size in measures[1].tables.items()}
    jobs = max(1, measures[1].jobs - measures[0].jobs)
    for name in sorted(grown, key=lambda name: -grown[name])[:8]:
        lines.append(_row(f"{name}, bytes for each job", [f"{grown[name] / jobs:.0f}"]))
    return "\n".join(lines)


def _row(name: str, values: list[str]) -> str:
    return f"{name:45}" + "".join(f"{value:>10}" for value in values)


async def soak(jobs: int) -> int:
    directory = Path(tempfile.mkdtemp(prefix="bartender-soak-"))
    service = Service(directory, CONFIG)
    await service.start(**ENVIRONMENT)
    try:
        jobs_done = max(50, jobs // 10)
        await run_jobs(service, jobs_done)
        await asyncio.sleep(5)  # what is written behind the jobs' backs
        first = await measure(service, jobs_done)
        filled: list[Measure] = []
        cleaned: list[Measure] = []
        for part in range(1, PARTS_OF_SOAK + 1):
            began = time.monotonic()
            await run_jobs(service, jobs // PARTS_OF_SOAK)
            rate = jobs // PARTS_OF_SOAK / (time.monotonic() - began)
            print(f"{part} of {PARTS_OF_SOAK}: {rate:.1f} jobs/s", flush=True)
            jobs_done += jobs // PARTS_OF_SOAK
            filled.append(await measure(service, jobs_done))
            await clean_up(service)
            await asyncio.sleep(70)  # PostgreSQL looks once a minute for what it can use again
            cleaned.append(await measure(service, jobs_done))
    finally:
        await service.stop()
    measures = [first, *(one for pair in zip(filled, cleaned, strict=True) for one in pair)]
    print(table(measures))
    found = list(leaks(first, filled, cleaned))
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
