"""Processes that share what they import: each is forked off one that has imported it for all of them.

So a start imports each module once, and the pages that hold it are in memory once. That one process, the
nursery, imports what the first child needs, forks it off, imports what the second one needs, and so on; it
becomes the last one itself. A child that has to be started again is started as a program of its own.
"""

import asyncio
import gc
import importlib
import logging
import os
import signal
import socket
import struct
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NoReturn

from deployments.serving import rebirth
from deployments.serving.processes import Child, Forked

logger = logging.getLogger(__name__)

_REPORT = struct.Struct("=II")  # which child, and the id of its process


@dataclass(frozen=True, slots=True)
class Birth:
    """A child that is to be, and the modules that it shares with those after it."""

    child: Child
    imports: Sequence[str] = ()


def is_possible() -> bool:
    """Whether a fork of this process is whole: no other thread of it is in the middle of something."""
    return sys.platform == "linux" and threading.active_count() == 1


class Nursery:
    """The children of one start, in the order in which they are wanted.

    They wait with their work until ``go``, and end with this process, however that happens.
    """

    def __init__(self, births: Sequence[Birth]) -> None:
        self._births = births
        self._born: dict[int, int] = {}
        self._started: set[int] = set()
        self._is_closed = False
        self._reading = asyncio.Lock()
        self._reports, theirs = socket.socketpair()
        self._reports.setblocking(False)
        wait, go = os.pipe()
        self._go: int | None = go
        rebirth.adopt_orphans(True)
        rebirth.remember_where_the_name_is()
        gc.freeze()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _Inside(births, theirs, wait, parent).run()
        theirs.close()
        os.close(wait)
        self._nursery = Forked(pid)

    def go(self) -> None:
        """Let the children begin; those that are not there yet, as soon as they are."""
        if self._go is not None:
            os.close(self._go)
            self._go = None

    async def start(self, child: Child) -> None:
        """Wait until the child is there and watch it; start it as a program where it does not come."""
        index = next(n for n, birth in enumerate(self._births) if birth.child is child)
        async with self._reading:
            while index not in self._born and await self._read():
                pass
        pid = self._born.get(index)
        if pid is None:
            logger.warning("%s was not forked; it is started as a program", child.name)
            await child.start()
            return
        self._started.add(index)
        await child.start(self._process(pid))

    async def close(self) -> None:
        """End those that nobody started; harmless when that is done."""
        if self._is_closed:
            return
        self._is_closed = True
        if len(self._born) < len(self._births):
            self._nursery.send_signal(signal.SIGKILL)
            while await self._read():
                pass
        self._reports.close()
        rebirth.adopt_orphans(False)
        for index in self._born.keys() - self._started:
            process = self._process(self._born[index])
            process.send_signal(signal.SIGKILL)
            await process.wait()
        self.go()

    def _process(self, pid: int) -> Forked:
        return self._nursery if pid == self._nursery.pid else Forked(pid)

    async def _read(self) -> bool:
        """Take one report; False when there will be no more."""
        loop = asyncio.get_running_loop()
        report = await loop.sock_recv(self._reports, _REPORT.size)
        if len(report) < _REPORT.size:
            return False
        index, pid = _REPORT.unpack(report)
        self._born[index] = pid
        return True


class _Inside:
    """The nursery's own process."""

    def __init__(self, births: Sequence[Birth], reports: socket.socket, wait: int, parent: int) -> None:
        self._births = births
        self._reports = reports
        self._wait = wait
        self._parent = parent

    def run(self) -> NoReturn:
        try:
            rebirth.forget_signals()
            rebirth.end_with(self._parent)
            os.setsid()  # a Ctrl-C in the terminal is for our parent, who ends its children in order
            passed = {number for birth in self._births for number in birth.child.pass_fds}
            rebirth.let_go_of_all_but({0, 1, 2, self._reports.fileno(), self._wait, *passed})
            for index, birth in enumerate(self._births[:-1]):
                self._import(birth)
                self._fork(index)
            self._import(self._births[-1])
            self._become(len(self._births) - 1)
        except BaseException:
            logger.exception("What is started cannot be forked")
        finally:
            os._exit(1)  # the frames below are those of another process

    def _import(self, birth: Birth) -> None:
        # Some modules look at it while they are imported.
        os.environ.clear()
        os.environ.update(birth.child.environment)
        for name in birth.imports:
            importlib.import_module(name)

    def _fork(self, index: int) -> None:
        """Fork twice: the process in between ends at once, and so leaves its child to our parent."""
        gc.freeze()
        between = os.fork()
        if between == 0:
            if os.fork() == 0:
                self._become(index)
            os._exit(0)
        os.waitpid(between, 0)

    def _become(self, index: int) -> NoReturn:
        child = self._births[index].child
        if os.getsid(0) != os.getpid():
            os.setsid()
        rebirth.end_with(self._parent)
        rebirth.take_on(child.environment, child.command)
        self._reports.sendall(_REPORT.pack(index, os.getpid()))
        rebirth.let_go_of_all_but({0, 1, 2, self._wait, *child.pass_fds})
        rebirth.write_to(child.log)
        with suppress(InterruptedError):
            os.read(self._wait, 1)
        module, *arguments = child.command[2:]  # after python -m
        rebirth.run_module(module, arguments)
