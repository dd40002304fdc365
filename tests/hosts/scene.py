"""Two hosts that answer visitors, two workers, two pilots, two Prefect servers, and what becomes of them.

Those that answer visitors are behind one address, and so are the Prefect servers. The hosts share this
machine's disk and processes; each has a network of its own. So a command goes on when its host is cut off,
and a worker on another host sees how it ends.
"""

import asyncio
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import httpx

from tests.e2e.service import A_START, until
from tests.hosts.network import Network
from tests.hosts.service import (
    LOGIN,
    PORT,
    PREFECT_PORT,
    Api,
    Disk,
    OneAddress,
    Part,
    Pilot,
    Prefect,
    SharedServers,
    Worker,
)
from tests.hosts.visitor import Visitor

HOSTS = 8


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``cut_off``, ``frozen``: seconds for which a worker's host is. All are longer than a lease."""

    jobs: int
    cut_off: float
    frozen: float
    patience: float

    @property
    def pause(self) -> float:
        """Seconds between two submissions, so that there are some all the while."""
        return (self.cut_off + self.frozen) / self.jobs


FULL = Plan(jobs=500, cut_off=60, frozen=120, patience=1200)
BOUNDED = Plan(jobs=60, cut_off=25, frozen=25, patience=600)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """Everything runs; each part has a host of its own."""

    plan: Plan
    disk: Disk
    shared: SharedServers
    apis: list[Api]
    workers: list[Worker]
    pilots: list[Pilot]
    prefects: list[Prefect]
    visitor: Visitor

    async def play(self) -> list[str]:
        """Let it all happen; return what is not as it was promised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            group.create_task(self._happen())
        async with asyncio.timeout(self.plan.patience):
            await self.visitor.until_all_have_ended()
        problems = await self.visitor.problems(self.disk.jobs)
        return problems or await until_told(self.shared.url("prefect"), self.visitor, self.plan.patience)

    async def _submit(self) -> None:
        for number in range(self.plan.jobs):
            await self.visitor.submit(number, seconds=0.2 + number % 7)
            await asyncio.sleep(self.plan.pause)

    async def _happen(self) -> None:
        first, second = zip(self.workers, self.pilots, strict=True)
        await asyncio.sleep(3)
        for part in first:
            part.host.cut_off()
        await asyncio.sleep(self.plan.cut_off / 2)
        for gone in (self.apis[0], self.prefects[0]):
            gone.host.cut_off()  # for good
        await asyncio.sleep(self.plan.cut_off / 2)
        for part in first:
            part.host.come_back()
        await asyncio.sleep(5)
        for part in second:
            part.host.send(signal.SIGSTOP)
        await asyncio.sleep(self.plan.frozen / 2)
        for killed in (self.apis[1], self.prefects[1]):
            await asyncio.to_thread(killed.end)
            killed.start()
        await asyncio.sleep(self.plan.frozen / 2)
        for part in second:
            part.host.send(signal.SIGCONT)


@asynccontextmanager
async def running(directory: Path, plan: Plan) -> AsyncIterator[Scene]:
    """Start everything; end it at the end. ``directory`` keeps what it wrote."""
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Network(HOSTS))
        disk = Disk(directory)
        shared = await stack.enter_async_context(SharedServers(network, directory).running())
        one, two, three, four, five, six, seven, eight = network.hosts

        environment = shared.for_prefect()
        prefects = [Prefect(f"prefect{n}", host, disk, environment) for n, host in ((1, five), (2, six))]
        await _started(stack, prefects, f":{PREFECT_PORT}/api/health")
        prefect = OneAddress(network, [five, six], PREFECT_PORT)
        await stack.enter_async_context(prefect.listening())

        environment = shared.for_jobs(prefect.url)
        apis = [Api("api1", one, disk, environment), Api("api2", two, disk, environment)]
        workers = [Worker("worker1", three, disk, environment), Worker("worker2", four, disk, environment)]
        await _started(stack, apis, f":{PORT}/api/health")
        pilots = [Pilot("pilot1", seven, disk, environment), Pilot("pilot2", eight, disk, environment)]
        for part in (*workers, *pilots):
            stack.callback(part.end)
            part.start()
        address = OneAddress(network, [one, two], PORT)
        await stack.enter_async_context(address.listening())
        yield Scene(
            plan=plan,
            disk=disk,
            shared=shared,
            apis=apis,
            workers=workers,
            pilots=pilots,
            prefects=prefects,
            visitor=Visitor(address.url, directory / "private_key.pem"),
        )


async def _started(stack: AsyncExitStack, parts: Sequence[Part], health: str) -> None:
    for part in parts:
        stack.callback(part.end)
        part.start()
    for part in parts:
        await until(lambda url=f"http://{part.host.address}{health}": _answers(url), A_START)  # type: ignore[misc]


async def _answers(url: str) -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(url, auth=LOGIN)
    except httpx.TransportError:
        return False
    return answer.status_code == 200


_RUNS = """
SELECT flow_run.name, state_type::text AS type FROM flow_run JOIN flow ON flow.id = flow_id
WHERE flow.name = 'run-job' AND flow_run.name LIKE 'script-%'
"""


async def until_told(database: str, visitor: Visitor, seconds: float) -> list[str]:
    """Wait until Prefect has each job's run, and that it completed; return what it says else."""
    wanted = {f"script-{job_id}": "COMPLETED" for job_id in visitor.jobs.values()}
    connection = await asyncpg.connect(database.replace("+asyncpg", ""))
    found: dict[str, str] = {}

    async def look() -> bool:
        rows = await connection.fetch(_RUNS)
        found.update({row["name"]: row["type"] for row in rows})
        return found == wanted and len(rows) == len(wanted)

    try:
        await until(look, seconds)
    except TimeoutError:
        return [f"flow run {name}: {found.get(name)}" for name in wanted if found.get(name) != "COMPLETED"]
    finally:
        await connection.close()
    return []
