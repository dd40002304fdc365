"""The parts that faults hit: each can be killed, frozen and restarted, and is brought back."""

import asyncio
import signal
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.e2e.service import PARTS, Service, descendants, until
from tests.services.daemon import Daemon
from tests.services.processes import send
from tests.services.sshd import Sshd

STAYS_AWAY = 300
"""Seconds to wait for a part that is started again, and may be hit meanwhile, before a fault can hit it."""


class Part(Protocol):
    """``seconds`` is how long it is to stay away; all return once it is back, or will be without us."""

    async def kill(self, seconds: float) -> str: ...

    async def freeze(self, seconds: float) -> str: ...

    async def restart(self, seconds: float) -> str: ...

    async def bring_back(self) -> None: ...


class Watched:
    """A part that is started again by whoever started it. ``find`` returns its process ids."""

    def __init__(
        self,
        find: Callable[[], Iterable[int]],
        *,
        frozen_too: Callable[[int], Iterable[int]] = lambda pid: [pid],
        stop: signal.Signals = signal.SIGTERM,
    ) -> None:
        self._find = find
        self._frozen_too = frozen_too
        self._stop = stop
        self._frozen: set[int] = set()

    def pids(self) -> list[int]:
        return list(self._find())

    async def _pid(self) -> int:
        async def look() -> int | None:
            return next(iter(self._find()), None)

        return int(await until(look, STAYS_AWAY))

    async def kill(self, seconds: float) -> str:
        return self._send(await self._pid(), signal.SIGKILL)

    async def restart(self, seconds: float) -> str:
        return self._send(await self._pid(), self._stop)

    async def freeze(self, seconds: float) -> str:
        pid = await self._pid()
        pids = set(self._frozen_too(pid))
        self._frozen |= pids
        send(pids, signal.SIGSTOP)
        await asyncio.sleep(seconds)
        self._thaw(pids)
        return f"{len(pids)} processes with {pid}"

    async def bring_back(self) -> None:
        self._thaw(set(self._frozen))

    def _thaw(self, pids: set[int]) -> None:
        send(pids, signal.SIGCONT)
        self._frozen -= pids

    @staticmethod
    def _send(pid: int, number: signal.Signals) -> str:
        send([pid], number)
        return f"process {pid}"


def part_of_server(service: Service, name: str) -> Watched:
    def find() -> list[int]:
        return [pid for pid, command in processes(service).items() if PARTS[name] in command]

    return Watched(find)


def processes(service: Service) -> dict[int, str]:
    return service.processes() if service.is_running else {}


def postgres(service: Service) -> Watched:
    def find() -> list[int]:
        with suppress(OSError, ValueError):
            pid = int((service.data_dir / "postgres/data/postmaster.pid").read_text().split("\n", 1)[0])
            if b"postgres" in Path(f"/proc/{pid}/cmdline").read_bytes():
                return [pid]
        return []

    return Watched(find, frozen_too=descendants, stop=signal.SIGINT)


class Own(Watched):
    """A process beside the server's, kept running by us as a supervisor would."""

    def __init__(self, begin: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        super().__init__(self._processes)
        self._begin = begin
        self._process: subprocess.Popen[bytes] | None = None
        self._task: asyncio.Task[None] | None = None

    def _processes(self) -> list[int]:
        return [self._process.pid] if self._process is not None and self._process.poll() is None else []

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep())

    async def _keep(self) -> None:
        while True:
            if not self._processes():
                self._process = self._begin()
            await asyncio.sleep(0.5)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        if self._process is not None:
            send([self._process.pid], signal.SIGCONT)
            self._process.terminate()
            try:
                await asyncio.to_thread(self._process.wait, 15)
            except subprocess.TimeoutExpired:
                self._process.kill()


def own_worker(service: Service, name: str) -> Own:
    return Own(lambda: service.worker(name))


def own_pilot(service: Service, name: str) -> Own:
    """Make one that takes the runs of the work pool ``pilots``; the server has to run when it begins."""
    variables: dict[str, str] = {}

    def begin() -> "subprocess.Popen[bytes]":
        if not variables:  # the same after a restart of the server
            variables.update(service.environment)
        options = ["--work-pool", "pilots", "--max-jobs", "8", "--name", name]
        directory = str(service.directory / name)
        return service.module("api", "perform", *options, "--directory", directory, variables=variables)

    return Own(begin)


class Server:
    """All of ``bartender serve`` at once. Frozen, it starts none of its children again."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._turn = asyncio.Lock()

    async def kill(self, seconds: float) -> str:
        return await self._begin_anew(signal.SIGKILL, seconds)

    async def restart(self, seconds: float) -> str:
        return await self._begin_anew(signal.SIGTERM, seconds)

    async def freeze(self, seconds: float) -> str:
        async with self._turn:
            pid = self._service.pid
            send([pid], signal.SIGSTOP)
            await asyncio.sleep(seconds)
            send([pid], signal.SIGCONT)
            return f"process {pid}"

    async def _begin_anew(self, number: signal.Signals, seconds: float) -> str:
        async with self._turn:
            await self._service.stop(number)
            await asyncio.sleep(seconds)
            await self._start()
            return f"process {self._service.pid}"

    async def _start(self) -> None:
        """Again and again, as an operator's init does: its parts may be hit while they start."""
        for _ in range(10):
            try:
                await self._service.start()
            except (TimeoutError, AssertionError):
                await asyncio.sleep(1)
            else:
                return
        await self._service.start()

    async def bring_back(self) -> None:
        async with self._turn:
            if not self._service.is_running:
                await self._start()


class OwnDaemon:
    """A server of the tests' own, such as slurmctld."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self._turn = asyncio.Lock()

    async def kill(self, seconds: float) -> str:
        return await self._away(self._daemon.kill, seconds)

    async def restart(self, seconds: float) -> str:
        return await self._away(self._daemon.stop, seconds)

    async def freeze(self, seconds: float) -> str:
        async with self._turn:
            pids = self._all()
            send(pids, signal.SIGSTOP)
            await asyncio.sleep(seconds)
            send(pids, signal.SIGCONT)
            return f"{len(pids)} processes"

    def _all(self) -> set[int]:
        return {self._daemon.pid} - {None}  # type: ignore[return-value]

    async def _away(self, end: Callable[[], object], seconds: float) -> str:
        async with self._turn:
            pid = self._daemon.pid
            await asyncio.to_thread(end)
            await asyncio.sleep(seconds)
            await asyncio.to_thread(self._daemon.start)
            return f"process {pid}"

    async def bring_back(self) -> None:
        async with self._turn:
            self._daemon.thaw()
            await asyncio.to_thread(self._daemon.start)


class OwnSshd(OwnDaemon):
    """With its connections, as if the machine went away."""

    def __init__(self, daemon: Sshd) -> None:
        super().__init__(daemon)
        self._sshd = daemon

    async def kill(self, seconds: float) -> str:
        return await self._away(self._sshd.crash, seconds)

    async def restart(self, seconds: float) -> str:
        return await self._away(self._sshd.drop_connections, 0)

    def _all(self) -> set[int]:
        return super()._all() | self._sshd.connections()
