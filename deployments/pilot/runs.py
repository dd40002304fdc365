"""One run at a pilot: from the claim to the end that Prefect has heard of."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import TypeVar

from deployments.pilot.commands import PilotCommands
from deployments.pilot.files import AlreadyBegun, JobFiles, JobOver, NotHere
from deployments.pilot.ledger import Entry, Ledger
from flows.destinations.scheduler import Status
from flows.disk.trees import remove_tree
from flows.errors import DestinationFailed, JobCancelled, JobFailure, Unavailable, unavailable_for_now
from flows.pilots import words
from flows.pilots.orders import Order
from flows.pilots.rest import NotFound, PrefectRest
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens, unless
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

T = TypeVar("T")

DELAYS = Delays(0.5, longest=15.0)

SURE_SECONDS = 5.0
"""For which a pilot knows that a run is its own: after more, it may have been frozen, and asks."""

ANSWER_SECONDS = 5.0
"""For which others wait to hear whether a run is ours."""

BEGUN_AFTER = 1.0
"""Seconds after which Prefect is told that a command runs: the end of a shorter one says all."""


_DISOWNED = JobCancelled("The command is another pilot's, or its job has ended.")
_CANCELLED = JobCancelled("The job was cancelled.")
_BEGUN_BEFORE = DestinationFailed("The command was begun before, by another pilot.")
_JOB_OVER = JobCancelled("The job had ended before the command began.")


class NotOurs(Exception):
    """Somebody else has the run, or nobody."""


class Stage(Enum):
    """How far a run is; ``ASKING``: it is not known whether it is ours."""

    ASKING = auto()
    OURS = auto()
    TELLING = auto()


class PilotRun:
    """``commands`` has what runs, ``files`` the way of its files."""

    def __init__(
        self,
        entry: Entry,
        *,
        rest: PrefectRest,
        ledger: Ledger,
        commands: PilotCommands,
        files: Callable[[str], JobFiles],
        directory: Path,
    ) -> None:
        self.entry = entry
        self.stage = Stage.ASKING
        self.sure_since = time.monotonic()
        """When it was asked last whether the run is ours, where it is."""
        self._order = entry.order
        self._id = entry.claim.id
        self._rest = rest
        self._ledger = ledger
        self._commands = commands
        self._files = files
        self._directory = directory
        self._ending: JobFailure | None = None
        self._is_to_end = asyncio.Event()
        self._is_unwanted = asyncio.Event()
        self._disowned = False
        self._is_decided = asyncio.Event()
        self.is_given_back = False

    async def is_taken(self) -> bool:
        """Return whether the run is ours, once that is known; or True when Prefect does not say so soon."""
        return not await happens(self._is_decided, within=ANSWER_SECONDS) or self.stage is not Stage.ASKING

    async def live(self) -> None:
        """Bring the run to its end. A cancellation leaves all as it is, for the next start."""
        self._commands.expect(self._id, self._order, self._end_unless_ours)
        try:
            await self._live()
        finally:
            self._is_decided.set()
        await self._insist(self._forget)

    async def _live(self) -> None:
        try:
            try:
                status = await self._perform()
            except NotHere as error:
                logger.warning("Run %s is given back: %s", self._name, error)
                if (failure := await self._give_back(error)) is None:
                    return
                status = Status(state="ended", failure=failure)
            self.stage = Stage.TELLING
            await self._tell_the_end(status)
        except NotOurs:
            if self.stage is not Stage.ASKING:
                logger.warning("Run %s is not this pilot's any more; it is let go of", self._name)
            await self._insist(lambda: self._commands.end(self._id, _DISOWNED))

    @property
    def _name(self) -> str:
        return f"{self._order.application}-{self._order.job_id}"

    async def end(self, failure: JobFailure) -> None:
        """Let the command end, for that reason, wherever it is. Raises Unavailable."""
        if self._ending is None:
            self._ending = failure
            self._is_to_end.set()
        if isinstance(failure, JobCancelled):
            self._is_unwanted.set()
        if self.stage is Stage.OURS:
            await self._commands.end(self._id, failure)

    async def disown(self) -> None:
        """End the command and say nothing of it. Raises Unavailable."""
        self._disowned = True
        await self.end(_DISOWNED)

    async def _perform(self) -> Status:
        if await self._insist(lambda: self._commands.has(self._id)):
            self.stage = Stage.OURS  # the command goes on, whoever answers
            if (failure := self._ending) is not None:  # it was to end before that was known
                await self._insist(partial(self._commands.end, self._id, failure))
        else:
            await self._insist(self._take)
            self.stage = Stage.OURS
            self._is_decided.set()
            try:
                await unless(self._is_to_end, self._begin())
            except AlreadyBegun as error:
                if await self._insist(self._has_ended_its_turn):
                    raise NotHere("the pilot was interrupted when it gave the command back") from error
                return Status(state="ended", failure=_BEGUN_BEFORE)
            except JobOver:
                return Status(state="ended", failure=_JOB_OVER)
            except JobFailure as refused:
                return Status(state="ended", failure=refused)
            if (failure := self._ending) is not None:
                if not await self._insist(lambda: self._commands.knows(self._id)):
                    self._unless_disowned()
                    return Status(state="ended", failure=failure)
                await self._insist(lambda: self._commands.end(self._id, failure))
        status = await self._follow()
        self._unless_disowned()
        return await self._bring_back(status)

    def _unless_disowned(self) -> None:
        if self._disowned:
            raise NotOurs

    async def _take(self) -> None:
        """Make the run ours, or find that it is. It may be asked again: the claim is the same."""
        asked = time.monotonic()
        try:
            done, state = await self._rest.set_state(self.entry.run, words.taken(self.entry.claim))
            if not done:
                states = await self._rest.states(self.entry.run)
                if not words.is_of(self.entry.claim, states):
                    raise NotOurs
                state = states[-1]
            if words.is_late_claim(state):
                await self._undo()
                raise NotOurs
        except NotFound as error:
            raise NotOurs from error
        self.sure_since = asked

    async def _undo(self) -> None:
        """Give a run the end back that our claim took: it had ended by then."""
        ends = [state for state in await self._rest.states(self.entry.run) if state["type"] in words.FINAL]
        if ends:
            keys = ("type", "name", "message", "data")
            await self._rest.force_state(self.entry.run, {key: ends[-1][key] for key in keys})

    async def _look(self) -> str:
        """Return the type of the run's state. Raises NotOurs where the run is not this pilot's any more."""
        try:
            state = (await self._rest.run(self.entry.run))["state"]
        except NotFound as error:
            raise NotOurs from error
        claim = words.claim_of(state)
        if state.get("type") not in words.UNDER_WAY or claim not in (None, self.entry.claim):
            raise NotOurs
        return str(state["type"])

    async def _make_sure(self) -> None:
        """Ask whether the run is ours where that is not certain any more."""
        if time.monotonic() - self.sure_since > SURE_SECONDS:
            asked = time.monotonic()
            if await self._insist(self._look) == "CANCELLING":
                await self._insist(lambda: self.end(_CANCELLED))
            self.sure_since = asked

    async def _end_unless_ours(self) -> None:
        try:
            await self._make_sure()
        except NotOurs:
            await self._insist(self.disown)

    async def _begin(self) -> None:
        await self._make_sure()
        files = self._files(self._order.filesystem)
        directory = await self._insist(lambda: files.fetch(self._order, self._directory))
        await self._make_sure()
        if self._ending is None:
            await self._insist(lambda: self._commands.submit(self._order.submission(self._id, directory)))

    async def _follow(self) -> Status:
        telling: asyncio.Task[None] | None = None
        try:
            while True:
                async for status in self._commands.watch(self._id):
                    if status.state == "running" and telling is None:
                        telling = asyncio.create_task(self._tell_of_the_beginning())
                    if status.state == "ended":
                        return status
                raise NotHere("the pilot's disk lost the command before it began", was_taken=True)
        finally:
            await cancel([telling])

    async def _tell_of_the_beginning(self) -> None:
        await asyncio.sleep(BEGUN_AFTER)
        with suppress(NotOurs, NotFound):  # who looks after all runs finds that, too
            await self._insist(self._say_begun)

    async def _say_begun(self) -> None:
        if await self._look() == "PENDING":
            await self._rest.set_state(self.entry.run, words.begun(self.entry.claim))

    async def _bring_back(self, status: Status) -> Status:
        if isinstance(status.failure, JobCancelled):
            return status  # nobody wants them
        try:
            if await unless(self._is_unwanted, self._insist(self._send)):
                return status
        except JobFailure as failure:
            return Status(state="ended", returncode=status.returncode, failure=failure)
        self._unless_disowned()
        return Status(state="ended", returncode=status.returncode, failure=_CANCELLED)

    async def _send(self) -> None:
        try:
            await self._files(self._order.filesystem).send(self._order, self._directory)
        except NotHere as error:  # it has run: nobody else may
            await self._look()
            raise Unavailable(f"The outputs cannot be brought back: {error}") from error

    async def _tell_the_end(self, status: Status) -> None:
        state = words.ended(self.entry.claim, status)

        async def once() -> None:
            await self._look()
            done, _ = await self._rest.set_state(self.entry.run, state)
            if not done:
                raise Unavailable("Prefect does not take the end of the command.")

        try:
            await self._insist(once)
        except NotFound as error:
            raise NotOurs from error

    async def _give_back(self, error: NotHere) -> JobFailure | None:
        """Let another pilot take the run; return why none can."""
        if error.was_taken:
            try:
                await self._insist(self._end_its_turn)
            except NotHere as reason:
                return DestinationFailed(f"The command cannot be given to another pilot: {reason}")
        self.is_given_back = True

        async def once() -> None:
            if await self._look() == "CANCELLING":
                await self._rest.set_state(self.entry.run, words.cancelled())
            else:
                await self._rest.set_state(self.entry.run, words.to_be_taken(str(error)))

        await self._insist(once)
        return None

    async def _end_its_turn(self) -> None:
        """What was taken for this pilot can be taken in the next turn only: Prefect has to say that first."""
        await self._look()
        parameters = self._order.again().parameters()
        await self._rest.tell("PATCH", f"/flow_runs/{self.entry.run}", {"parameters": parameters})
        await self._files(self._order.filesystem).give_back(self._order)

    async def _has_ended_its_turn(self) -> bool:
        try:
            run = await self._rest.run(self.entry.run)
        except NotFound as error:
            raise NotOurs from error
        return Order.read(run["parameters"]).turn > self._order.turn

    async def _forget(self) -> None:
        with unavailable_for_now("What was kept of a command cannot be removed"):
            await self._commands.forget(self._id)
            try:
                if self._directory.is_dir():
                    await asyncio.to_thread(remove_tree, self._directory)
            except OSError as error:  # the job's doing, perhaps: others need its place
                logger.warning("%s cannot be removed (%s); remove it by hand", self._directory, error)
            await asyncio.to_thread(self._ledger.drop, self.entry)

    async def _insist(self, act: Callable[[], Awaitable[T]]) -> T:
        return await patiently(act, delays=DELAYS, what=f"Run {self._name} waits")
