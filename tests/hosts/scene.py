"""Two hosts that answer visitors behind one address, two that run jobs, and what becomes of them.

The hosts share this machine's disk and processes; each has a network of its own. So a command
goes on when its host is cut off, and a worker on another host sees how it ends.
"""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.e2e.service import A_START, until
from tests.hosts.network import Network
from tests.hosts.service import PORT, Api, Disk, OneAddress, Part, Worker, shared_servers
from tests.hosts.visitor import Visitor

HOSTS = 4


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


@dataclass(frozen=True)
class Scene:
    """Everything runs. ``apis`` and ``workers`` have a host each."""

    plan: Plan
    disk: Disk
    apis: list[Api]
    workers: list[Worker]
    visitor: Visitor

    async def play(self) -> list[str]:
        """Let it all happen; return what is not as it was promised."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._submit())
            group.create_task(self._happen())
        async with asyncio.timeout(self.plan.patience):
            await self.visitor.until_all_have_ended()
        return await self.visitor.problems(self.disk.jobs)

    async def _submit(self) -> None:
        for number in range(self.plan.jobs):
            await self.visitor.submit(number, seconds=0.2 + number % 7)
            await asyncio.sleep(self.plan.pause)

    async def _happen(self) -> None:
        [first, second], [gone, killed] = self.workers, self.apis
        await asyncio.sleep(3)
        first.host.cut_off()
        await asyncio.sleep(self.plan.cut_off / 2)
        gone.host.cut_off()  # for good
        await asyncio.sleep(self.plan.cut_off / 2)
        first.host.come_back()
        await asyncio.sleep(5)
        second.host.send(signal.SIGSTOP)
        await asyncio.sleep(self.plan.frozen / 2)
        await asyncio.to_thread(killed.end)
        killed.start()
        await asyncio.sleep(self.plan.frozen / 2)
        second.host.send(signal.SIGCONT)


@asynccontextmanager
async def running(directory: Path, plan: Plan) -> AsyncIterator[Scene]:
    """Start everything; end it at the end. ``directory`` keeps what it wrote."""
    async with AsyncExitStack() as stack:
        network = stack.enter_context(Network(HOSTS))
        disk = Disk(directory)
        environment = await stack.enter_async_context(shared_servers(network, directory))
        one, two, three, four = network.hosts
        apis = [Api("api1", one, disk, environment), Api("api2", two, disk, environment)]
        workers = [Worker("worker1", three, disk, environment), Worker("worker2", four, disk, environment)]
        for part in (*apis, *workers):
            stack.callback(part.end)
            part.start()
        for api in apis:
            await until(lambda api=api: _answers(api), A_START)  # type: ignore[misc]
        address = await stack.enter_async_context(OneAddress(network, [one, two]).listening())
        yield Scene(plan, disk, apis, workers, Visitor(address.url, directory / "private_key.pem"))


async def _answers(api: Part) -> bool:
    try:
        async with httpx.AsyncClient(timeout=5) as client:
            answer = await client.get(f"http://{api.host.address}:{PORT}/api/health")
    except httpx.TransportError:
        return False
    return answer.status_code == 200
