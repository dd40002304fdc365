"""Takes the runs of one work pool, as many at once as the pilot runs of it."""

import asyncio
import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from deployments.pilot.commands import PilotCommands
from deployments.pilot.files import JobFiles
from deployments.pilot.ledger import Entry, Ledger
from deployments.pilot.runs import PilotRun, Stage
from flows.errors import JobCancelled, JobFailure, Unavailable, unavailable_for_now
from flows.pilots import pool as pools
from flows.pilots import words
from flows.pilots.orders import Order
from flows.pilots.rest import NotFound, PrefectRest
from flows.waiting.cancelling import cancel
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 15.0

MARGIN = 30.0
"""Seconds that a pilot needs at the end of its time to say how its commands ended."""

_MORE = 8
"""Runs that are looked at beside those that can be taken, since other pilots take some at the same time."""

_TRIES = 5
"""Looks without anything that could be taken, before others have their turn."""

_SOON = 0.05
_EXPECTED_SECONDS = 2.0
"""Prefect tells of a run a moment before it can be seen: for so long it is looked for each 0.05 s."""

_SHUNNED_SECONDS = 60.0
AFTER_A_MISTAKE = Delays(5.0, longest=300.0)
_ENDING = Delays(0.5, longest=2.0)
_CANCELLED = JobCancelled("The job was cancelled.")


class TakenRuns:
    """``time_left`` returns the seconds until this pilot has to end, which may be infinite."""

    def __init__(
        self,
        pool: str,
        worker: str,
        directory: Path,
        *,
        slots: int,
        rest: PrefectRest,
        files: Callable[[str], JobFiles],
        time_left: Callable[[], float],
    ) -> None:
        self.pool = pool
        self.worker = worker
        self._slots = slots
        self._rest = rest
        self._files = files
        self._time_left = time_left
        self._directory = directory
        self._ledger = Ledger(directory / "ledger" / pool)
        self.commands = PilotCommands(directory, pool, rest)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._runs: dict[str, PilotRun] = {}
        self._shunned: dict[str, float] = {}
        self._expected: dict[str, float] = {}
        self._complained: set[str] = set()
        self._is_crowded = False
        self.woken = asyncio.Event()
        """Set when there may be runs to take."""
        self.idle_since = time.monotonic()

    @property
    def is_idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._tasks

    async def resume(self) -> None:
        """Go on with what was taken under this name before."""
        await self.commands.keep_from_starting()
        with unavailable_for_now("What was taken before cannot be read"):
            entries = await asyncio.to_thread(self._ledger.entries)
        for entry in entries:
            if entry.run not in self._tasks:
                self._start(entry)

    def expect(self, run: str) -> None:
        """Look soon for a run that is said to wait, until it is seen."""
        self._expected[run] = time.monotonic() + _EXPECTED_SECONDS
        # All pilots of the pool hear the same at the same moment.
        asyncio.get_running_loop().call_later(random.uniform(0.5, 1.0) * _SOON, self.woken.set)  # noqa: S311

    def expect_no_more(self, run: str) -> None:
        """It was taken."""
        self._expected.pop(run, None)

    def interval(self, otherwise: float) -> float:
        """Return the seconds until the next look for work: otherwise so many."""
        now = time.monotonic()
        self._expected = {run: until for run, until in self._expected.items() if until > now}
        return _SOON if self._expected else otherwise

    async def beat(self) -> None:
        """Show the pilot online. Raises Unavailable."""
        with self._pool_is_there():
            await self._rest.heartbeat(self.pool, self.worker, HEARTBEAT_INTERVAL)

    @contextmanager
    def _pool_is_there(self) -> Iterator[None]:
        """A pool that is gone is not made anew."""
        try:
            yield
        except NotFound as error:
            text = f"The work pool {self.pool} is gone: nothing more is taken, what runs goes on."
            raise Unavailable(text) from error

    async def find(self) -> None:
        """Go on with runs that Prefect says are this pilot's, though it does not know of them.

        Their entries were lost in a power cut, or a claim arrived when it was given up. Raises Unavailable.
        """
        deployment = await pools.deployment_id(self._rest, self.pool)
        if deployment is None:
            return
        known = set(self._tasks)
        taken = {"state": {"type": {"any_": ["PENDING", "RUNNING"]}}}
        for run in await self._rest.runs(taken, deployment=deployment):
            claim = words.claim_of(run.get("state"))
            if claim is not None and claim.pilot == self.worker and run["id"] not in known | set(self._tasks):
                logger.warning("Run %s is this pilot's; it goes on with it", run["name"])
                self._start(Entry(run["id"], claim, Order.read(run["parameters"])))

    async def take(self) -> None:
        """Take what there is room and time for. Raises Unavailable."""
        with self._pool_is_there():
            await self._take()

    async def _take(self) -> None:
        in_vain = 0
        while (free := self._slots - len(self._tasks)) > 0 and self._time_left() > MARGIN:
            path = f"/work_pools/{self.pool}/get_scheduled_flow_runs"
            # Runs that wait for a concurrency limit of the deployment are scheduled for later.
            due = (self._rest.now() + timedelta(seconds=1)).isoformat()
            rows = await self._rest.ask("POST", path, {"limit": free + _MORE, "scheduled_before": due})
            for row in rows:
                self._expected.pop(row["flow_run"]["id"], None)
            fitting = [entry for row in rows if (entry := self._entry(row["flow_run"])) is not None]
            if not fitting:
                return
            if self._is_crowded:
                random.shuffle(fitting)
            claimed = await asyncio.gather(*(self._claim(entry) for entry in fitting[:free]))
            self._is_crowded = not all(claimed)
            in_vain = 0 if any(claimed) else in_vain + 1
            if in_vain == _TRIES:
                return

    def _entry(self, run: dict[str, Any]) -> Entry | None:
        """Return what is to be kept of a run; None where it is not for this pilot now."""
        id_ = str(run["id"])
        if id_ in self._tasks or time.monotonic() < self._shunned.get(id_, 0.0):
            return None
        try:
            order = Order.read(run.get("parameters"))
        except ValueError as error:
            if id_ not in self._complained:
                logger.warning("Run %s is not taken: %s", run.get("name"), error)
                self._complained.add(id_)
            return None
        if (order.time_limit or 0.0) + MARGIN > self._time_left():
            return None
        return Entry(id_, words.Claim(self.worker, str(uuid.uuid4())), order)

    async def _claim(self, entry: Entry) -> bool:
        """Return whether the run is ours, or may be: then that is found out."""
        with unavailable_for_now("What is taken cannot be written down"):
            await asyncio.to_thread(self._ledger.keep, entry)
        run = self._start(entry)
        return await run.is_taken()

    def _start(self, entry: Entry) -> PilotRun:
        run = self._run(entry)
        task = asyncio.create_task(self._live(run), name=f"run {entry.run}")
        self._tasks[entry.run] = task
        return run

    def _run(self, entry: Entry) -> PilotRun:
        run = self._runs[entry.run] = PilotRun(
            entry,
            rest=self._rest,
            ledger=self._ledger,
            commands=self.commands,
            files=self._files,
            directory=self._directory / "jobs" / entry.claim.id,
        )
        return run

    async def _live(self, run: PilotRun) -> None:
        """Bring a run to its end: what went wrong by a mistake begins anew, as at the pilot's next start."""
        id_, pauses = run.entry.run, iter(AFTER_A_MISTAKE)
        try:
            while True:
                try:
                    await run.live()
                    break
                except Exception:
                    logger.exception("Run %s cannot be looked after; that begins anew", id_)
                await asyncio.sleep(next(pauses))
                run = self._run(run.entry)
        finally:
            self._tasks.pop(id_, None)
            self._runs.pop(id_, None)
            if run.is_given_back:
                self._shunned[id_] = time.monotonic() + _SHUNNED_SECONDS
            self.idle_since = time.monotonic()
            self.woken.set()

    async def look_after(self) -> None:
        """Heed what others have done to the runs that are under way. One question, whatever their number."""
        asked = time.monotonic()
        ours = {id_: run for id_, run in self._runs.items() if run.stage is Stage.OURS}
        if not ours:
            return
        found = await self._rest.runs({"id": {"any_": list(ours)}})
        rows = {row["id"]: row for row in found}
        for id_, run in ours.items():
            if run.stage is Stage.OURS and run.sure_since < asked:
                await self._heed(run, rows.get(id_))

    async def _heed(self, run: PilotRun, row: dict[str, Any] | None) -> None:
        state = (row or {}).get("state") or {}
        claim = words.claim_of(state)
        if state.get("type") == "CANCELLING":
            await run.end(_CANCELLED)
        elif state.get("type") not in words.UNDER_WAY or claim not in (None, run.entry.claim):
            await run.disown()

    async def end_all(self, failure: JobFailure) -> None:
        """End all commands for that reason, and return when Prefect has heard that."""
        runs = list(self._runs.values())
        await asyncio.gather(*(patiently(partial(run.end, failure), delays=_ENDING) for run in runs))
        while self._tasks:
            await asyncio.wait(list(self._tasks.values()))

    async def stop(self) -> None:
        """Leave everything to the next start."""
        await cancel(list(self._tasks.values()))
        await self.commands.close()
