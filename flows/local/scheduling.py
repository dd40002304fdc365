"""A queue of commands on this machine: the base of the schedulers ``memory`` and ``eager``."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from flows.destinations.scheduler import Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.destinations.variables import BlockVariables
from flows.disk.writable import check_writable
from flows.errors import (
    InternalError,
    JobCancelled,
    JobFailure,
    TimeLimitExceeded,
    Unavailable,
    unavailable_for_now,
)
from flows.local.commands import LOST, End, LocalCommands
from flows.local.kept import Kept
from flows.local.line import Line
from flows.waiting.patience import Delays, patiently
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DELAYS = Delays(1.0, longest=30.0)
_LOST = Status(state="ended", failure=LOST)
_OUR_MISTAKE = InternalError(
    "The command failed by a mistake in the service; the operator's log has the cause."
)


LOOK_INTERVAL = 0.5
"""Seconds between two looks whether a command may start by now."""

_WAITS_FOR_A_SLOT = "Waiting for another job to end: all slots of the destination are taken."


class LocalConfig(BaseModel):
    """Keys of every scheduler that runs commands on this machine."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    environment: str | None = Field(default=None, description="name of a command-environment block")


class _Command:
    """A command as those see it who watch it."""

    def __init__(self) -> None:
        self.runner: asyncio.Task[None] | None = None
        self.is_held_back = False
        self._status = Status(state="queued")
        self._changed = asyncio.Event()

    def tell(self, status: Status) -> None:
        """Let it be so from now on; an end stays as it is."""
        if not self._status.is_last and status != self._status:
            self._status = status
            self._changed.set()
            self._changed = asyncio.Event()

    @property
    def has_ended(self) -> bool:
        return self._status.is_last

    async def statuses(self) -> AsyncIterator[Status]:
        """Yield the status now, then each other one, until the last."""
        while True:
            status, changed = self._status, self._changed
            yield status
            if status.is_last:
                return
            await changed.wait()


class LocalScheduler:
    """``slots`` commands at a time; where more wait, their submitters take turns.

    What is queued and what runs is on disk, so that another process continues where this one was killed.
    """

    commands_are_here: ClassVar[bool] = True

    def __init__(
        self,
        surroundings: Surroundings,
        *,
        slots: float,
        time_limit: float | None = None,
        environment: str | None = None,
    ) -> None:
        self._disk = surroundings.place.data_dir
        self._commands = LocalCommands(surroundings.place.commands / surroundings.destination)
        self._slots = slots
        self._time_limit = time_limit
        self._environment = BlockVariables(environment)  # read when a command starts, not before
        self._known: dict[str, _Command] = {}
        self._line = Line()
        self._busy = 0
        self._recovery = asyncio.Lock()
        self._recovered = False
        self._closed = False

    async def submit(self, submission: Submission) -> str:
        await self._recover()
        if submission.token not in self._known:
            with unavailable_for_now("The command cannot be written down"):
                found = await to_the_end(lambda: self._commands.add(submission))
            self._admit(submission.token, found)
        return submission.token

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        await self._recover()
        command = self._known.get(scheduler_id)
        if command is None:
            with unavailable_for_now("The command cannot be read"):
                found = await asyncio.to_thread(self._commands.read, scheduler_id)
            if found is None:
                yield _LOST
                return
            if not found.can_run:
                logger.error("%s", found.damage)
                yield Status(state="lost")
                return
            command = self._admit(scheduler_id, found)  # another worker's, perhaps
        async for status in command.statuses():
            yield status

    async def cancel(self, scheduler_id: str) -> None:
        await self._recover()
        with unavailable_for_now("The command cannot be ended now"):
            await self._end(scheduler_id, JobCancelled("The job was cancelled."))

    async def forget(self, scheduler_id: str) -> None:
        command = self._known.pop(scheduler_id, None)
        self._line.remove(scheduler_id)
        if command is not None and command.runner is not None:
            command.runner.cancel()
            await asyncio.gather(command.runner, return_exceptions=True)
        if command is not None:
            command.tell(_LOST)  # somebody may still watch it
        await asyncio.to_thread(self._commands.forget, scheduler_id)

    async def check(self) -> None:
        await check_writable(self._disk)

    async def tokens(self) -> list[str]:
        return await asyncio.to_thread(self._commands.tokens)

    async def close(self) -> None:
        """Stop looking after the commands, which go on."""
        self._closed = True
        tasks = [command.runner for command in self._known.values() if command.runner is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def waits_for(self) -> str | None:
        """Return what keeps a command from starting, for its submitter; None when it may start.

        A hook for schedulers that heed more than slots; it is asked again and again.
        """
        return None

    async def time_limit(self, token: str) -> float | None:
        """Return the seconds that a command may run. A hook for schedulers that have one for each."""
        return self._time_limit

    async def variables(self, token: str) -> Mapping[str, str]:
        """Return what the command's environment has from operators. A hook, as above."""
        return await self._environment.variables()

    async def _recover(self) -> None:
        """Take over what an earlier process left: what runs keeps its slot, what waits keeps its turn."""
        async with self._recovery:
            if self._recovered:
                return
            with unavailable_for_now("The commands of before cannot be read"):
                found = await asyncio.to_thread(self._commands.submitted)
            # Those first that have slots: whose turn it was is not in the order of jobs.
            for submission, one in sorted(found, key=lambda pair: not pair[1].has_started):
                self._admit(submission.token, one)
            self._recovered = True

    def _admit(self, token: str, found: Kept) -> _Command:
        command = self._known.get(token)
        if command is None:
            command = self._known[token] = _Command()
            submitter = "" if found.submission is None else found.submission.submitter
            if found.has_started:
                self._line.begin(submitter)
                self._run(token, submitter, has_started=True)
            else:
                self._line.add(token, submitter)
                self._fill()
                if command.runner is None:
                    command.tell(Status(state="queued", reason=_WAITS_FOR_A_SLOT))
        return command

    def _fill(self) -> None:
        while self._line and self._busy < self._slots:
            self._run(*self._line.next(), has_started=False)

    def _run(self, token: str, submitter: str, *, has_started: bool) -> None:
        self._busy += 1
        command = self._known[token]
        work = self._look_after(token, command, has_started)
        command.runner = asyncio.create_task(work, name=f"command {token}")
        command.runner.add_done_callback(partial(self._release, submitter))

    def _release(self, submitter: str, _runner: "asyncio.Task[None]") -> None:
        self._busy -= 1
        self._line.end(submitter)
        if not self._closed:
            self._fill()

    async def _look_after(self, token: str, command: _Command, has_started: bool) -> None:
        try:
            if not has_started and not await self._launch(token, command):
                self._known.pop(token, None)  # it is to be submitted again
                command.tell(Status(state="lost"))
                return
            command.tell(Status(state="running"))
            command.tell(_ended(await self._wait(token)))
        except asyncio.CancelledError:
            raise
        except Exception:
            # A mistake of ours must not keep the slot, nor let the job wait for ever.
            logger.exception("Command %s cannot be looked after", token)
            command.tell(_ended(End(None, _OUR_MISTAKE)))

    async def _launch(self, token: str, command: _Command) -> bool:
        """Return False when the command cannot be started, ever."""
        while not command.has_ended and (reason := self.waits_for()) is not None:
            command.is_held_back = True
            command.tell(Status(state="queued", reason=reason))
            await asyncio.sleep(LOOK_INTERVAL)
        command.is_held_back = False
        return await _insist(
            f"start command {token}", lambda: self._try_to_launch(token, command), Unavailable
        )

    async def _try_to_launch(self, token: str, command: _Command) -> bool:
        """Raise Unavailable for what passes, and tell those who watch: anything else is a mistake of ours."""
        try:
            variables = await self.variables(token)
            with unavailable_for_now("The machine cannot start the command now"):
                return await self._commands.launch(token, variables)
        except Unavailable as error:
            command.tell(Status(state="queued", reason=f"Waiting: {error}"))
            raise

    async def _wait(self, token: str) -> End:
        ender = asyncio.create_task(self._end_when_due(token), name=f"end {token}")
        try:
            return await _insist(f"follow command {token}", lambda: self._try_to_follow(token), Unavailable)
        finally:
            ender.cancel()
            await asyncio.gather(ender, return_exceptions=True)

    async def _try_to_follow(self, token: str) -> End:
        with unavailable_for_now("The command cannot be followed now"):
            return await self._commands.wait(token)

    async def _end_when_due(self, token: str) -> None:
        await _insist(f"end command {token}", lambda: self._end_for_time(token), Exception)

    async def _end_for_time(self, token: str) -> None:
        """End the command when its time is over, or at once when somebody was interrupted in ending it."""
        found = await asyncio.to_thread(self._commands.read, token)
        if found is None:
            return
        failure = found.ending
        if failure is None:
            if (limit := await self.time_limit(token)) is None:
                return
            await asyncio.sleep(limit - (time.time() - found.started_at))
            failure = TimeLimitExceeded(f"The command ran longer than the {limit:g} s it is allowed.")
        await self._end(token, failure)

    async def _end(self, token: str, failure: JobFailure) -> None:
        await self._commands.end(token, failure)
        command = self._known.get(token)
        if command is not None and (token in self._line or command.is_held_back):
            self._line.remove(token)
            command.tell(_ended(End(None, failure)))


def _ended(end: End) -> Status:
    return Status(state="ended", returncode=end.returncode, failure=end.failure)


async def _insist(what: str, act: Callable[[], Awaitable[T]], passing: type[Exception]) -> T:
    """Act until it works: the machine may be out of processes, memory, open files or room, which passes."""
    return await patiently(act, delays=_DELAYS, passing=passing, what=f"Cannot {what} now")
