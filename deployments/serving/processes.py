"""Child processes that are watched: started again when they die, ended before we end."""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from deployments.serving import launcher
from flows.errors import ConfigurationError
from flows.waiting.patience import Delays

logger = logging.getLogger(__name__)

DELAYS = Delays(0.1, longest=10.0)
STEADY = 10.0
"""Seconds after which a process counts as having run well: the delays then begin anew."""

FAILURES_BEFORE_READY = 3

_KILLED_SECONDS = 10.0


class Process(Protocol):
    """What is needed of a process that runs: asyncio's own are such."""

    @property
    def pid(self) -> int:
        """Its id."""

    @property
    def returncode(self) -> int | None:
        """What came of it, once it has ended."""

    async def wait(self) -> int:
        """Return what came of it."""

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal, unless it has ended."""


class Forked:
    """A child of this process that was not made by asyncio. Made in the event loop; Linux only."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._descriptor = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._reap)

    def _reap(self) -> None:
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    async def wait(self) -> int:
        """Return what came of it."""
        await self._ended.wait()
        assert self.returncode is not None  # noqa: S101 - set before the event
        return self.returncode

    def send_signal(self, signal: int, /) -> None:
        """Send it a signal, unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, signal)


class Child:
    """A process that runs until ``stop``; when it dies before, it is started again with growing delays.

    It is in a session of its own, so that a Ctrl-C in the terminal reaches us alone and we end our children
    in order. ``stop_signals`` are sent one after the other, each with the seconds it is given; then it is
    killed.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environment: Mapping[str, str],
        stop_signals: Sequence[tuple[signal.Signals, float]] = ((signal.SIGTERM, 3.0),),
        death_signal: signal.Signals = signal.SIGKILL,
        unprivileged: bool = False,
        pass_fds: Sequence[int] = (),
        log: Path | None = None,
    ) -> None:
        self.name = name
        self.log = log
        self.command = command
        self.environment = dict(environment)
        self.pass_fds = tuple(pass_fds)
        self._stop_signals = stop_signals
        self._death_signal = death_signal
        self._unprivileged = unprivileged
        self._process: Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False
        self._failures = 0

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        return self._process.pid if self._process is not None and self._process.returncode is None else None

    async def start(self, process: Process | None = None) -> None:
        """Start the process, or take the one that was started for it, and watch it."""
        self._stopping = False
        self._failures = 0
        self._process = process or await self._spawn()
        self._task = asyncio.create_task(self._watch(self._process), name=f"watch {self.name}")

    async def wait_until(self, ready: Callable[[], Awaitable[bool]], *, seconds: float) -> None:
        """Return when ``ready()`` is true; ConfigurationError when that does not happen or it keeps dying."""
        deadline = time.monotonic() + seconds
        while not await ready():
            if self._failures >= FAILURES_BEFORE_READY or time.monotonic() > deadline:
                raise ConfigurationError(f"{self.name} does not start{self._last_words()}")
            await asyncio.sleep(0.02)

    async def stop(self, *, at_once: bool = False) -> None:
        """End the process; harmless when it does not run. ``at_once``: it has nothing to finish."""
        self._stopping = True
        if self._task is None:
            return
        signals = ((signal.SIGKILL, _KILLED_SECONDS),) if at_once else self._stop_signals
        try:
            for number, seconds in signals:
                if self._signal(number) and await self._ends_within(seconds):
                    break
        finally:
            self._kill_group()
            if self.pid is None:
                self._task.cancel()  # it waits before it starts it again
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _spawn(self) -> Process:
        command = launcher.wrap(
            self.command, death_signal=self._death_signal, unprivileged=self._unprivileged
        )
        output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if self.log else None
        try:
            return await asyncio.create_subprocess_exec(
                *command,
                env=self.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                pass_fds=self.pass_fds,
            )
        finally:
            if output is not None:
                os.close(output)

    async def _watch(self, process: Process) -> None:
        delays = iter(DELAYS)
        while True:
            started = time.monotonic()
            status = await process.wait()
            if self._stopping:
                return
            self._failures += 1
            if time.monotonic() - started > STEADY:
                delays = iter(DELAYS)
            delay = next(delays)
            logger.warning("%s ended with status %s; starting it again in %.1f s", self.name, status, delay)
            await asyncio.sleep(delay)
            try:
                process = self._process = await self._spawn()
            except OSError as error:
                logger.warning("%s cannot be started: %s", self.name, error)

    def _signal(self, number: signal.Signals) -> bool:
        if self._process is None or self.pid is None:
            return False
        self._process.send_signal(number)
        return True

    async def _ends_within(self, seconds: float) -> bool:
        assert self._process is not None  # noqa: S101 - a signal was sent to it
        try:
            await asyncio.wait_for(self._process.wait(), seconds)
        except TimeoutError:
            return False
        return True

    def _kill_group(self) -> None:
        if self.pid is None:
            return
        logger.warning("%s does not end; killing it", self.name)
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            logger.debug("%s has ended meanwhile", self.name)

    def _last_words(self) -> str:
        if self.log is None or not self.log.exists():
            return ": see the messages above"
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return f": {lines[-1] if lines else 'it says nothing'} (see {self.log})"
