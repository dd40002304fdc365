"""The process of ``bartender perform``."""

import asyncio
import logging
import math
import os
import signal
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import uvloop

from deployments import garbage
from deployments.background import repeat, when_woken
from deployments.pilot.files import JobFiles, NotHere, SharedDisk
from deployments.pilot.http_files import HttpFiles
from deployments.pilot.ledger import identity
from deployments.pilot.news import News
from deployments.pilot.taking import HEARTBEAT_INTERVAL, MARGIN, TakenRuns
from flows.disk import locks, private_files
from flows.errors import ConfigurationError, DestinationFailed, Refused, Unavailable
from flows.pilots import pool
from flows.pilots.orders import VERSION
from flows.pilots.rest import Login, NotFound, PrefectRest
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens
from flows.waiting.patience import Delays, patiently

logger = logging.getLogger(__name__)

LOOK_INTERVAL = 10.0
"""Seconds between looks for work that Prefect did not tell of."""

DEAF_INTERVAL = 2.0
"""Seconds between these while Prefect's events cannot be heard."""

OWN_INTERVAL = 10.0
"""Seconds between looks at the runs that are under way."""

FIND_INTERVAL = 300.0
"""Seconds between looks for runs that are this pilot's, and that it does not know of."""

GOODBYE_SECONDS = 20.0
"""In which the end of commands has to be told, at the end of the pilot's time."""

AT_THE_START = Delays(0.5, longest=10.0)

_OVER = DestinationFailed("The pilot's time was over before the command ended.")
_STOPPED = DestinationFailed("The pilot was stopped before the command ended.")


@dataclass(frozen=True, kw_only=True, slots=True)
class PilotSettings:
    """``pools`` are names of work pools, each with how many commands of it may run at once.

    Times are in seconds. ``end_commands``: whether they end with the pilot, instead of being left to its next
    start. ``api_url`` and ``pilot_key`` are for files by HTTP.
    """

    name: str
    directory: Path
    pools: Mapping[str, int]
    idle_timeout: float | None = None
    time_left: float | None = None
    end_commands: bool = False
    api_url: str | None = None
    pilot_key: str | None = field(default=None, repr=False)


def run(settings: PilotSettings) -> None:
    """Work until SIGINT or SIGTERM, or until it is over. Raises ConfigurationError before the work begins."""
    login = Login.of_environment()
    private_files.make_directory(settings.directory)
    way_out = "give this pilot another --name"
    with (
        locks.exclusive(settings.directory / "lock", way_out),
        asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
    ):
        runner.run(Pilot(settings, login).work())


class Pilot:
    """Takes runs of its work pools and brings them to their ends."""

    def __init__(self, settings: PilotSettings, login: Login) -> None:
        self._settings = settings
        self._login = login
        self._identity = identity(settings.directory)
        self._ends_at = math.inf if settings.time_left is None else time.time() + settings.time_left
        self._stop = asyncio.Event()
        self._changed = asyncio.Event()

    @property
    def worker(self) -> str:
        """What the pilot is called in Prefect: nobody else is, so a silent one is known by it."""
        return f"{self._settings.name}-{self._identity}"

    def _time_left(self) -> float:
        return self._ends_at - time.time()

    async def work(self) -> None:
        """Work until it is over."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as stack:
            rest = PrefectRest(self._login)
            stack.push_async_callback(rest.close)
            taken = [self._taken(rest, name, slots) for name, slots in self._settings.pools.items()]
            for one in taken:
                stack.push_async_callback(one.stop)
                await patiently(one.resume, what="What was taken before cannot be read")
            opening = asyncio.create_task(self._open(rest))
            stack.push_async_callback(cancel, [opening])
            await _first(opening, self._stop)
            if not self._stop.is_set():
                await self._work(stack, rest, taken)
            await self._leave(rest, taken)

    def _taken(self, rest: PrefectRest, name: str, slots: int) -> TakenRuns:
        return TakenRuns(
            name,
            self.worker,
            self._settings.directory,
            slots=slots,
            rest=rest,
            files=self._job_files,
            time_left=self._time_left,
        )

    def _job_files(self, filesystem: str) -> JobFiles:
        """Raise NotHere for files that this pilot is not told how to get."""
        if filesystem != "http":
            return SharedDisk(self._identity)
        settings = self._settings
        if not settings.api_url or not settings.pilot_key:
            raise NotHere("the pilot has no BARTENDER_API_URL or BARTENDER_PILOT_KEY")
        return HttpFiles(settings.api_url, settings.pilot_key, self.worker)

    async def _open(self, rest: PrefectRest) -> None:
        """Wait for the Prefect server. Raises ConfigurationError for what an operator has to see to."""
        for name in self._settings.pools:
            await patiently(partial(_check, rest, name), delays=AT_THE_START, what="The pilot waits")

    async def _work(self, stack: AsyncExitStack, rest: PrefectRest, taken: list[TakenRuns]) -> None:
        garbage.begin()
        news = News(self._login, _Told(taken, self._changed))

        def interval(one: TakenRuns) -> float:
            return one.interval(LOOK_INTERVAL if news.hears else DEAF_INTERVAL)

        async def hear() -> None:
            await self._hear(rest, news)

        async def look_after() -> None:
            await asyncio.gather(*(one.look_after() for one in taken))

        loops = [repeat(hear, DEAF_INTERVAL), when_woken(self._changed, look_after, OWN_INTERVAL)]
        for one in taken:
            loops.append(repeat(one.beat, HEARTBEAT_INTERVAL))
            loops.append(repeat(one.find, FIND_INTERVAL))
            loops.append(when_woken(one.woken, one.take, partial(interval, one)))
        tasks = [asyncio.create_task(loop) for loop in loops]
        stack.push_async_callback(cancel, tasks)
        for name, slots in self._settings.pools.items():
            logger.info("Pilot %s takes jobs of the work pool %s, %s at a time", self.worker, name, slots)
        while not self._stop.is_set() and not self._is_over(taken):
            await happens(self._stop, within=1.0)
        await cancel(tasks)

    async def _hear(self, rest: PrefectRest, news: News) -> None:
        ids = [await pool.deployment_id(rest, name) for name in self._settings.pools]
        if found := [id_ for id_ in ids if id_ is not None]:
            await news.hear(found)

    def _is_over(self, taken: list[TakenRuns]) -> bool:
        is_idle = all(one.is_idle for one in taken)
        idle_for = time.monotonic() - max(one.idle_since for one in taken)
        timeout = self._settings.idle_timeout
        if is_idle and timeout is not None and idle_for > timeout:
            logger.info("Idle for %.0f s: the pilot ends", idle_for)
            return True
        left = self._time_left()
        if left < GOODBYE_SECONDS or (is_idle and left < MARGIN):
            logger.info("The pilot's time is over")
            return True
        return False

    async def _leave(self, rest: PrefectRest, taken: list[TakenRuns]) -> None:
        """End what does not outlive the pilot, and tell of that while there is time."""
        is_over = self._time_left() < GOODBYE_SECONDS
        if is_over or self._settings.end_commands:
            try:
                async with asyncio.timeout(GOODBYE_SECONDS):
                    await asyncio.gather(*(one.end_all(_OVER if is_over else _STOPPED) for one in taken))
            except TimeoutError:
                logger.warning("Prefect has not heard how all commands ended; it will, from the next start")
        if all(one.is_idle for one in taken):
            await self._sign_off(rest)

    async def _sign_off(self, rest: PrefectRest) -> None:
        """Leave no trace in Prefect's list of workers, where nothing is left to be done."""
        for name in self._settings.pools:
            try:
                await rest.tell("DELETE", f"/work_pools/{name}/workers/{self.worker}")
            except (Unavailable, NotFound) as error:
                logger.debug("Not signed off: %s", error)


async def _check(rest: PrefectRest, name: str) -> None:
    try:
        version = await pool.version(rest, name)
    except Refused as error:
        raise ConfigurationError(str(error)) from error
    if version is not None and version > VERSION:
        raise ConfigurationError(
            f"the service gives orders of version {version} to the pilots of {name}, and this one knows "
            f"{VERSION}: update Bartender here"
        )


class _Told:
    """Passes on what Prefect tells. Of which pool a run is, is not said."""

    def __init__(self, taken: list[TakenRuns], changed: asyncio.Event) -> None:
        self._taken = taken
        self._changed = changed

    def hears(self) -> None:
        for one in self._taken:
            one.woken.set()
        self._changed.set()

    def waits(self, run: str) -> None:
        for one in self._taken:
            one.expect(run)

    def is_taken(self, run: str) -> None:
        for one in self._taken:
            one.expect_no_more(run)

    def changed(self) -> None:
        self._changed.set()


async def _first(work: asyncio.Task[None], stop: asyncio.Event) -> None:
    waiting = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([work, waiting], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        await cancel([waiting])


def time_left_of_slurm() -> float | None:
    """Return the seconds until the allocation that this process is in ends; None outside of one."""
    end = os.environ.get("SLURM_JOB_END_TIME", "")
    return float(end) - time.time() if end.isdecimal() else None
