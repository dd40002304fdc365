"""What the parts of the benchmark share: a warm server, what processes use, and rows of the table."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg

from tests.bench.checkouts import HERE, Checkout
from tests.bench.serving import Served
from tests.e2e.service import CONFIG, Service, until

README = {"README.md": "one two three\n" * 100}
MIB = 1 << 20


@asynccontextmanager
async def running(
    slots: int, log_level: str = "WARNING", more: str = "", checkout: Checkout = HERE, processes: int = 1
) -> AsyncIterator[Service]:
    """Serve with so many slots and more of the configuration; ``processes`` of the API, as many workers."""
    with tempfile.TemporaryDirectory() as directory:
        config = CONFIG.replace("slots: 50", f"slots: {slots}") + more
        service = Served(Path(directory), config, checkout)
        os.environ["BARTENDER_LOG_LEVEL"] = log_level
        await service.start(BARTENDER_WORKERS_COUNT=str(processes))
        workers = [service.worker(f"worker{number}") for number in range(1, processes)]
        try:
            await _live_workers(service, processes)
            for _ in range(5):  # warm up
                await service.ended(await service.submit(README, "wc"))
            yield service
        finally:
            for worker in workers:
                worker.terminate()
            for worker in workers:
                await asyncio.to_thread(worker.wait)
            await service.stop()


async def _live_workers(service: Service, count: int) -> None:
    """Return once so many are there."""
    connection = await asyncpg.connect(service.environment["BARTENDER_DB_DSN"].replace("+asyncpg", ""))
    live = "SELECT count(*) FROM worker WHERE lease_until > now()"

    async def are_there() -> bool:
        return int(await connection.fetchval(live)) >= count

    try:
        await until(are_there)
    finally:
        await connection.close()


def row(name: str, value: str) -> None:
    print(f"| {name} | {value} |", flush=True)


def memory(pid: int) -> int:
    """Return the resident memory in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class PeakMemory:
    """How much more memory a process had at any moment than when this was made."""

    def __init__(self, pid: int) -> None:
        self._process = Path(f"/proc/{pid}")
        (self._process / "clear_refs").write_text("5")  # the kernel then begins its count anew
        self._before = self._highest()

    def _highest(self) -> int:
        lines = (self._process / "status").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))

    @property
    def more(self) -> int:
        return self._highest() - self._before


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
