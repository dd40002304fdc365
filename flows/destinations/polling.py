"""One question for all jobs of a destination, whatever their number."""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable, Collection, Hashable, Mapping
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from flows.errors import Unavailable, with_cause
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens
from flows.waiting.patience import Delays

logger = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")

GROWTH = 0.2
"""A job is asked for again after this part of its age, so that short ones are not waited for long."""

LONGEST_PAUSE = 30.0
"""Seconds between two questions to a destination that does not answer."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two questions: the shortest while a job is new, growing to the longest with its age."""

    shortest: float
    longest: float

    def interval(self, age: float) -> float:
        """Return the interval for a job of which nothing has changed for so many seconds."""
        return max(self.shortest, min(self.longest, GROWTH * age))


class Turns(Protocol):
    """Whose turn it is to ask, where others ask the same destination."""

    async def take(self, spacing: float) -> float:
        """Return 0 for a turn, after which there is none for ``spacing`` s, or in how many s to try again.

        Raises Unavailable when that cannot be told.
        """
        ...


class Batcher(Generic[K, A]):
    """Collects what its callers want to know and asks for all of it at once, one question at a time.

    ``ask`` gets the keys and returns an answer for each; a key that it leaves away is asked for again.
    Between the end of a question and the next one are at least ``spacing`` seconds, whoever asks.
    When ``ask`` raises, all who wait get Unavailable, and the next question comes later.
    ``turns`` are those of all who ask the same: of their questions, the beginnings are as far apart.
    """

    def __init__(
        self,
        ask: Callable[[Collection[K]], Awaitable[Mapping[K, A]]],
        spacing: float,
        turns: Turns | None = None,
    ) -> None:
        self._ask = ask
        self._spacing = spacing
        self._turns = turns
        self._after_errors = Delays(2 * spacing, longest=max(spacing, LONGEST_PAUSE))
        self._pauses = iter(self._after_errors)
        self._waiting: dict[K, list[asyncio.Future[A]]] = {}
        self._due = math.inf
        self._not_before = -math.inf
        self._earlier = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None
        self._closed = False

    async def answer(self, key: K, *, within: float) -> A:
        """Return the next answer for a key, to a question that begins in so many seconds or before.

        It comes later where the spacing does not allow that.
        """
        if self._closed:
            raise Unavailable("The service stops.")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[A] = loop.create_future()
        self._waiting.setdefault(key, []).append(future)
        self._wake_by(loop.time() + within)
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work(), name="questions to a destination")
        try:
            return await future
        finally:
            self._leave(key, future)

    def _leave(self, key: K, future: asyncio.Future[A]) -> None:
        futures = self._waiting.get(key, [])
        if future in futures:
            futures.remove(future)
            if not futures:
                del self._waiting[key]

    def _wake_by(self, due: float) -> None:
        if due < self._due:
            self._due = due
            self._earlier.set()

    async def _work(self) -> None:
        while self._waiting:
            await self._until_due()
            await self._until_our_turn()
            batch, self._waiting, self._due = self._waiting, {}, math.inf
            if batch:
                await self._settle(batch)

    async def _until_due(self) -> None:
        loop = asyncio.get_running_loop()
        while (delay := max(self._due, self._not_before) - loop.time()) > 0:
            self._earlier.clear()
            if not await happens(self._earlier, within=delay):
                return

    async def _until_our_turn(self) -> None:
        if self._turns is None:
            return
        try:
            while (wait := await self._turns.take(self._spacing)) > 0:  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(wait)
        except Unavailable as error:
            logger.warning("Whose turn it is to ask a destination is not known now: %s", with_cause(error))

    async def _settle(self, batch: dict[K, list[asyncio.Future[A]]]) -> None:
        pause = self._spacing
        try:
            answers = await self._ask(list(batch))
        except asyncio.CancelledError:
            _fail(batch, "The service stops.")
            raise
        except Exception as error:
            pause = max(pause, next(self._pauses))
            text = str(error)
            if not isinstance(error, Unavailable):
                # A mistake of ours says nothing of the jobs, which must not end by it.
                logger.exception("A destination's answer was not understood")
                text = "The destination's answer was not understood; the operator's log has the cause."
            _fail(batch, text)
        else:
            self._pauses = iter(self._after_errors)
            self._hand_out(batch, answers)
        finally:
            self._not_before = asyncio.get_running_loop().time() + pause

    def _hand_out(self, batch: dict[K, list[asyncio.Future[A]]], answers: Mapping[K, A]) -> None:
        for key, futures in batch.items():
            waiting = [future for future in futures if not future.done()]
            if key in answers:
                for future in waiting:
                    future.set_result(answers[key])
            elif waiting:
                self._waiting.setdefault(key, []).extend(waiting)
                self._wake_by(asyncio.get_running_loop().time() + self._spacing)

    async def close(self) -> None:
        """Ask nothing more; who waits gets Unavailable."""
        self._closed = True
        await cancel([self._worker])
        _fail(self._waiting, "The service stops.")


def _fail(batch: Mapping[K, list[asyncio.Future[A]]], text: str) -> None:
    for futures in batch.values():
        for future in futures:
            if not future.done():
                # An exception of its own for each: they collect their callers' tracebacks.
                future.set_exception(Unavailable(text))
