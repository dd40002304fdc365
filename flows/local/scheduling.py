"""A queue of commands on this machine: the base of the schedulers ``memory`` and ``eager``."""

import asyncio
import logging
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field

from flows.destinations.scheduler import Status, Submission
from flows.destinations.variables import BlockVariables
from flows.errors import (
    CommandFailed,
    InternalError,
    JobCancelled,
    JobFailure,
    TimeLimitExceeded,
    unavailable_for_now,
)
from flows.local.commands import End, LocalCommands
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)

T = TypeVar("T")

_LOST = Status(state="ended", failure=CommandFailed("The command was lost; submit it again."))


class LocalConfig(BaseModel):
    """Keys of every scheduler that runs commands on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str | None = Field(default=None, description="name of a command-environment block")


class _Command:
    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.ended: asyncio.Future[Status] = asyncio.get_running_loop().create_future()
        self.runner: asyncio.Task[None] | None = None


class LocalScheduler:
    """First come, first served, ``slots`` at a time.

    What is queued and what runs is on disk, so that another process continues where this one was killed.
    """

    def __init__(
        self,
        directory: Path,
        *,
        slots: float,
        time_limit: float | None = None,
        environment: str | None = None,
    ) -> None:
        self._commands = LocalCommands(directory)
        self._slots = slots
        self._time_limit = time_limit
        self._environment = BlockVariables(environment)  # read when a command starts, not before
        self._known: dict[str, _Command] = {}
        self._queue: deque[str] = deque()
        self._busy = 0
        self._recovered = False
        self._closed = False

    async def submit(self, submission: Submission) -> str:
        self._recover()
        if submission.token not in self._known:
            with unavailable_for_now("The command cannot be written down"):
                await to_the_end(lambda: self._commands.add(submission))
            self._admit(submission.token)
        return submission.token

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        self._recover()
        if scheduler_id not in self._known and self._commands.exists(scheduler_id):
            with unavailable_for_now("The command cannot be read"):
                can_run = self._commands.can_run(scheduler_id)
            if not can_run:
                yield Status(state="lost")
                return
            self._admit(scheduler_id)  # another worker's, perhaps
        command = self._known.get(scheduler_id)
        if command is None:
            yield _LOST
            return
        if not command.started.is_set():
            yield Status(state="queued")
            await command.started.wait()
        if not command.ended.done():
            yield Status(state="running")
        yield await asyncio.shield(command.ended)

    async def cancel(self, scheduler_id: str) -> None:
        self._recover()
        with unavailable_for_now("The command cannot be ended now"):
            await self._end(scheduler_id, JobCancelled("The job was cancelled."))

    async def forget(self, scheduler_id: str) -> None:
        command = self._known.pop(scheduler_id, None)
        if scheduler_id in self._queue:
            self._queue.remove(scheduler_id)
        if command is not None and command.runner is not None:
            command.runner.cancel()
            await asyncio.gather(command.runner, return_exceptions=True)
        if command is not None and not command.ended.done():
            command.started.set()  # somebody may still watch it
            command.ended.set_result(_LOST)
        await asyncio.to_thread(self._commands.forget, scheduler_id)

    async def check(self) -> None:
        """Nothing is between us and this machine."""

    async def tokens(self) -> list[str]:
        return await asyncio.to_thread(self._commands.tokens)

    async def close(self) -> None:
        """Stop looking after the commands, which go on."""
        self._closed = True
        tasks = [command.runner for command in self._known.values() if command.runner is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def may_start(self) -> None:
        """Return when another command may start; a hook for schedulers that heed more than slots."""

    def _recover(self) -> None:
        """Take over what an earlier process left: what runs keeps its slot, what waits keeps its turn."""
        if self._recovered:
            return
        with unavailable_for_now("The commands of before cannot be read"):
            submissions = self._commands.submissions()
        for submission in submissions:
            self._admit(submission.token)
        self._recovered = True

    def _admit(self, token: str) -> None:
        if token in self._known:
            return
        self._known[token] = _Command()
        if self._commands.has_started(token):
            self._run(token)
        else:
            self._queue.append(token)
            self._fill()

    def _fill(self) -> None:
        while self._queue and self._busy < self._slots:
            self._run(self._queue.popleft())

    def _run(self, token: str) -> None:
        self._busy += 1
        command = self._known[token]
        command.runner = asyncio.create_task(self._look_after(token, command), name=f"command {token}")
        command.runner.add_done_callback(lambda _: self._release(command))

    def _release(self, command: _Command) -> None:
        command.started.set()
        self._busy -= 1
        if not self._closed:
            self._fill()

    async def _look_after(self, token: str, command: _Command) -> None:
        try:
            if not self._commands.has_started(token) and not await self._launch(token):
                self._known.pop(token, None)  # it is to be submitted again
                command.ended.set_result(Status(state="lost"))
                return
            command.started.set()
            end = await self._wait(token)
            if not command.ended.done():
                command.ended.set_result(_ended(end))
        except asyncio.CancelledError:
            raise
        except Exception as error:
            # A mistake of ours must not keep the slot, nor let the job wait for ever.
            logger.exception("Command %s cannot be looked after", token)
            if not command.ended.done():
                failure = InternalError(f"The command could not be run: {error}.")
                command.ended.set_result(_ended(End(None, failure)))

    async def _launch(self, token: str) -> bool:
        """Return False when the command cannot be started, ever."""
        await self.may_start()
        # Prefect may be away while a block is to be read.
        return await _insist(f"start command {token}", lambda: self._start(token), Exception)

    async def _start(self, token: str) -> bool:
        # It may have been ended or forgotten while it waited.
        if not self._commands.exists(token) or self._commands.has_started(token):
            return True
        return await self._commands.launch(token, await self._environment.variables())

    async def _wait(self, token: str) -> End:
        ender = asyncio.create_task(self._end_when_due(token), name=f"end {token}")
        try:
            return await _insist(f"follow command {token}", lambda: self._commands.wait(token), OSError)
        finally:
            ender.cancel()
            await asyncio.gather(ender, return_exceptions=True)

    async def _end_when_due(self, token: str) -> None:
        await _insist(f"end command {token}", lambda: self._end_for_time(token), Exception)

    async def _end_for_time(self, token: str) -> None:
        """End the command when its time is over, or at once when somebody was interrupted in ending it."""
        failure = self._commands.ending(token)
        if failure is None:
            if (limit := self._time_limit) is None:
                return
            await asyncio.sleep(limit - (time.time() - self._commands.started_at(token)))
            failure = TimeLimitExceeded(f"The command ran longer than the {limit:g} s it is allowed.")
        await self._end(token, failure)

    async def _end(self, token: str, failure: JobFailure) -> None:
        await self._commands.end(token, failure)
        command = self._known.get(token)
        if command is not None and token in self._queue:
            self._queue.remove(token)
            command.started.set()
            command.ended.set_result(_ended(End(None, failure)))


def _ended(end: End) -> Status:
    return Status(state="ended", returncode=end.returncode, failure=end.failure)


async def _insist(what: str, act: Callable[[], Awaitable[T]], passing: type[Exception]) -> T:
    """Act until it works: the machine may be out of processes, memory, open files or room, which passes."""
    delay = 1.0
    while True:
        try:
            return await act()
        except passing:
            logger.exception("Cannot %s now; trying again in %.0f s", what, delay)
        await asyncio.sleep(delay)
        delay = min(2 * delay, 30.0)
