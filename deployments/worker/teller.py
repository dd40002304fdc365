"""Tells Prefect of the flow runs of jobs: in batches, beside the jobs, and until it has heard."""

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from uuid import UUID

from deployments.recording.reports import MOST_RUNS, Answer, Recorder, RunReport, Verdict
from deployments.worker.notes import RunNotes
from flows.errors import Unavailable, with_cause
from flows.jobs.told import ToldJobs
from flows.waiting.patience import Delays

logger = logging.getLogger(__name__)

INTERVAL = 0.25
"""Seconds between two batches, for many runs to be in one."""

SHORT = 1.0
"""Seconds. A run that ends sooner is told of once; others no more often than that."""

REFUSALS = 5
"""So often something is told that Prefect refuses; other batches are between."""

PATIENCE = 30.0
"""Seconds for which a job that is to begin waits to hear that nobody has cancelled it."""

DELAYS = Delays(0.25, longest=5.0)
"""While the Prefect server is away."""

_IS_ENDED = {Verdict.CANCELLING, Verdict.CANCELLED}
_IS_THERE = {Verdict.WRITTEN, Verdict.OLDER, *_IS_ENDED}


@dataclass(frozen=True, slots=True)
class _Told:
    """A report that was made, and what its run was like then."""

    due: "_Due"
    report: RunReport
    version: int
    has_ended: bool


@dataclass(slots=True)
class _Due:
    """A run of which there is something to tell. Times are those of ``time.monotonic``."""

    notes: RunNotes
    not_before: float
    asked: list[asyncio.Future[Verdict | None]] = field(default_factory=list)

    def resolve(self, verdict: Verdict | None) -> None:
        """Let those go on who wait for the answer."""
        for asked in self.asked:
            if not asked.done():
                asked.set_result(verdict)
        self.asked.clear()


class Teller:
    """What is told is what ``jobs`` says to be this worker's; of others it says nothing.

    ``heed`` is given runs whose jobs are to be ended on an operator's word; ``settle`` those of which nothing
    is left to be told.
    """

    def __init__(
        self,
        recorder: Recorder,
        jobs: ToldJobs,
        *,
        heed: Callable[[RunNotes], None],
        settle: Callable[[Sequence[RunNotes]], Awaitable[None]],
    ) -> None:
        self._recorder = recorder
        self._jobs = jobs
        self._heed = heed
        self._settle = settle
        self._due: dict[UUID, _Due] = {}
        self._woken = asyncio.Event()

    def __contains__(self, flow_run_id: object) -> bool:
        """Whether there is something to tell of a run."""
        return flow_run_id in self._due

    def changed(self, notes: RunNotes) -> None:
        """Tell of the run: of one that has ended as soon as possible, of one that goes on when it lasts."""
        if notes.is_silent and not notes.has_ended:
            return
        due = self._due.get(notes.flow_run_id)
        if due is None or due.notes is not notes:
            due = self._due[notes.flow_run_id] = _Due(notes, time.monotonic() + SHORT)
        if notes.has_ended and not notes.refusals:
            due.not_before = 0.0
        self._woken.set()

    async def answer(self, notes: RunNotes) -> Verdict | None:
        """Tell of the run at once, again where that fails, and return what Prefect says; None after PATIENCE.

        None, too, where Prefect is told nothing more of the run. Where it says that the run is cancelled,
        whoever heeds that ends this, too.
        """
        if notes.is_silent:
            return None
        self.changed(notes)
        due = self._due[notes.flow_run_id]
        due.not_before = 0.0
        asked: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        due.asked.append(asked)
        try:
            async with asyncio.timeout(PATIENCE):
                return await asked
        except TimeoutError:
            return None

    async def run(self) -> None:
        """Tell, for ever."""
        delays = iter(DELAYS)
        while True:
            await self._woken.wait()
            await asyncio.sleep(INTERVAL)
            try:
                await self.tell()
                delays = iter(DELAYS)
            except Exception as error:
                delay, trace = next(delays), None if isinstance(error, Unavailable) else error
                text = "Prefect is told later of runs of jobs, in %.1f s: %s"
                logger.warning(text, delay, with_cause(error), exc_info=trace)
                await asyncio.sleep(delay)  # those that wait for an answer are asked about again

    async def tell(self) -> None:
        """Tell what is due. Raises Unavailable while Prefect or the database is away."""
        while batch := self._batch():
            await self._tell(batch)
        if not self._due:
            self._woken.clear()

    async def last_words(self, seconds: float) -> None:
        """Tell of what has ended, if that does not take longer: else the next worker does."""
        for due in self._due.values():
            due.not_before = 0.0 if due.notes.has_ended else math.inf
        try:
            async with asyncio.timeout(seconds):
                await self.tell()
        except (TimeoutError, Unavailable) as error:
            logger.warning("Another worker tells Prefect how jobs have ended here: %s", with_cause(error))

    def _batch(self) -> list[_Due]:
        now = time.monotonic()
        ready = (due for due in self._due.values() if due.not_before <= now)
        return sorted(islice(ready, MOST_RUNS), key=lambda due: due.notes.flow_run_id)

    async def _tell(self, batch: Sequence[_Due]) -> None:
        rows = await self._jobs.still_owned([due.notes.job.id for due in batch])
        told: list[_Told] = []
        for due in batch:
            notes = due.notes
            row = notes.job if notes.is_settled else rows.get(notes.job.id)
            if row is None:  # removed, or somebody else's by now
                self._forget(due)
            elif notes.is_silent:
                await self._are_over([due])
            else:
                told.append(_Told(due, notes.report(row), notes.version, notes.has_ended))
        if told:
            answers = await self._recorder.record([one.report for one in told])
            await self._heard(list(zip(told, answers, strict=True)))

    async def _heard(self, heard: Sequence[tuple[_Told, Answer]]) -> None:
        """Heed the answers. All of this may be repeated: they come again when it breaks off."""
        is_there = [one for one, answer in heard if answer.verdict in _IS_THERE]
        await self._jobs.set_recorded(
            [one.due.notes.job.id for one in is_there if not (one.due.notes.known or one.has_ended)]
        )
        for one in is_there:
            one.due.notes.told(one.report)
        await self._are_over([one.due for one, answer in heard if self._is_over(one, answer)])

    async def _are_over(self, over: Sequence[_Due]) -> None:
        if over:
            await self._settle([due.notes for due in over])
        for due in over:
            self._forget(due)

    def _is_over(self, one: _Told, answer: Answer) -> bool:
        """Whether there is nothing more to tell of the run, ever."""
        notes = one.due.notes
        if answer.verdict is Verdict.REFUSED:
            self._refused(one.due, answer)
            return notes.is_silent and notes.has_ended
        if one.has_ended:
            return True
        notes.is_silent = answer.verdict is Verdict.DELETED
        if answer.verdict in _IS_ENDED:
            self._heed(notes)  # which ends those that wait for the answer
        else:
            one.due.resolve(answer.verdict)
        if notes.has_ended:
            one.due.not_before = 0.0
        elif notes.is_silent or notes.version == one.version:
            self._forget(one.due)
        else:
            one.due.not_before = time.monotonic() + SHORT
        return False

    def _refused(self, due: _Due, answer: Answer) -> None:
        notes = due.notes
        notes.refusals += 1
        notes.is_silent = notes.refusals >= REFUSALS
        last = "it is not told again" if notes.is_silent else "it is told again"
        logger.error("Prefect refuses what it is told of job %s; %s: %s", notes.job.id, last, answer.text)
        due.not_before = time.monotonic() + SHORT * 2**notes.refusals
        due.resolve(None)  # the job does not wait for that
        if notes.is_silent and not notes.has_ended:
            self._forget(due)

    def _forget(self, due: _Due) -> None:
        if self._due.get(due.notes.flow_run_id) is due:
            del self._due[due.notes.flow_run_id]
        due.resolve(None)
