"""The worker: one process whose event loop runs the flow runs of thousands of jobs."""

import asyncio
import logging
import os
import resource
import signal
import socket
import threading
import time
from concurrent.futures import Future
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from typing import TypeVar

import uvloop
from prefect.context import SyncClientContext
from prefect.settings import (
    PREFECT_API_AUTH_STRING,
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED,
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY,
    temporary_settings,
)

from deployments import garbage
from deployments.background import repeat, when_woken
from deployments.dispatcher import Dispatcher
from deployments.recording.choosing import ChosenRecorder, open_recorder
from deployments.registration.names import default_worker_name
from deployments.settings import Settings
from deployments.worker.engine import PatientClient, PatientClientContext
from deployments.worker.heeded import Heeded
from deployments.worker.job_runs import JobRuns
from deployments.worker.prefect_side import PrefectSide
from deployments.worker.presence import Presence
from deployments.worker.reporter import REPORT_INTERVAL, Reporter
from deployments.worker.waiting_jobs import INTERVAL as WAITING_INTERVAL
from deployments.worker.waiting_jobs import tell_of_waiting_jobs
from flows import pickers
from flows.configuration.config import Config
from flows.database.pool import Limits, Pool
from flows.disk.places import Place
from flows.errors import ConfigurationError
from flows.jobs.deletion import purge
from flows.jobs.end_requests import CANCEL_CHANNEL
from flows.jobs.leases import RENEWAL_INTERVAL
from flows.jobs.not_begun import LIMITED, PAUSED
from flows.jobs.outbox import CHANNEL, SUBMISSION_CHANNEL, Outbox
from flows.jobs.owned import OwnedJobs
from flows.jobs.told import ToldJobs
from flows.lifecycle.left_behind import leave_former_destinations
from flows.lifecycle.runtime import Runtime, open_runtime
from flows.lifecycle.stranded import see_to_stranded_jobs
from flows.upkeep.leftover_commands import end_leftover_commands, forget_what_must_not_start
from flows.waiting.cancelling import cancel
from flows.waiting.events import first, unless
from flows.waiting.patience import patiently

logger = logging.getLogger(__name__)

T = TypeVar("T")

_PREFECT_SETTINGS = {
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,  # else a thread for each flow run
    PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED: False,  # else the worker starts only while the server is up
}

SWEEP_INTERVAL = 5.0
"""Seconds between looks for work that nobody told us of."""

LIMITED_INTERVAL = 1.0
"""Seconds between these while it is limited how many jobs run at once."""

FORGOTTEN_INTERVAL = 15.0
"""Seconds between looks for jobs that are ours but not run: of all that are ours, thousands perhaps."""

PURGE_INTERVAL = 60.0

LEFTOVERS_INTERVAL = 300.0

ANSWER_SECONDS = 20.0
"""How long the database may be silent to any question; the lease's are in ``deployments.worker.presence``."""

# Enough for the bursts of short transactions that thousands of jobs make.
_LIMITS = Limits(connections=10, connect_seconds=ANSWER_SECONDS, answer_seconds=ANSWER_SECONDS)

CLAIMS = 100
"""Jobs taken at once, so that several workers share a burst."""


def run(settings: Settings, config: Config) -> None:
    """Work until SIGINT or SIGTERM. Raises ConfigurationError before the work begins."""
    picker = pickers.load(config, settings.config_filename)
    # The loop is in a thread of its own because Prefect's engine takes over SIGTERM in the main thread.
    loop_ready: Future[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = Future()
    outcome: Future[None] = Future()

    async def work() -> None:
        stop = asyncio.Event()
        loop_ready.set_result((asyncio.get_running_loop(), stop))
        while not stop.is_set():
            await Worker(settings, config, picker).work(stop)

    def thread_body() -> None:
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(work())
        except BaseException as error:
            outcome.set_exception(error)
        else:
            outcome.set_result(None)
        finally:
            with suppress(BlockingIOError):  # full of signals, so it wakes
                wake.send(b"\0")

    _raise_file_limit()
    thread = threading.Thread(target=thread_body, name="worker")
    # The system may give a signal to any thread, and Python runs its handler in the main thread, which has to
    # be woken for that.
    wake, woken = socket.socketpair()
    with wake, woken:
        wake.setblocking(False)
        signal.set_wakeup_fd(wake.fileno())
        thread.start()
        loop, stop = loop_ready.result()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        while not outcome.done():
            woken.recv(1)
        thread.join()
        signal.set_wakeup_fd(-1)
    outcome.result()


def _raise_file_limit() -> None:
    # One descriptor for each local command that runs.
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class Worker:
    """Claims jobs and runs them."""

    def __init__(self, settings: Settings, config: Config, picker: pickers.Picker) -> None:
        self._settings = settings
        self._config = config
        self._picker = picker
        self._name = settings.worker_name or default_worker_name()
        self._jobs_wait = asyncio.Event()
        self._jobs_are_cancelled = asyncio.Event()
        self._told_of_waiting = 0.0
        self._heeded: Heeded
        self._client: PatientClient
        self._runtime: Runtime
        self._recorder: ChosenRecorder
        self._told: ToldJobs
        self._dispatcher: Dispatcher
        self._runs: JobRuns
        self._prefect: PrefectSide
        self._with_prefect: asyncio.Task[None]

    async def work(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set, or until this process has to begin anew because its lease was over."""
        async with AsyncExitStack() as stack:
            # It waits for the database, and for the Prefect server where that has never said what to heed.
            if not await unless(stop, self._open(stack)):
                return
            garbage.begin()
            reporter = Reporter(self._runtime, self._name)
            background = [
                repeat(self._keep_presence, SWEEP_INTERVAL),
                repeat(self._take_over, SWEEP_INTERVAL),
                repeat(self._see_to_stranded_jobs, SWEEP_INTERVAL),
                repeat(self._runs.resume_forgotten, FORGOTTEN_INTERVAL),
                when_woken(self._jobs_wait, self._claim, self._look_interval),
                when_woken(self._jobs_are_cancelled, self._cancel_for_visitors, SWEEP_INTERVAL),
                repeat(self._explain_waiting_jobs, SWEEP_INTERVAL),
                repeat(self._tell_of_waiting_jobs, WAITING_INTERVAL),
                repeat(self._purge, PURGE_INTERVAL),
                repeat(self._leave_former_destinations, PURGE_INTERVAL),
                repeat(self._end_leftovers, LEFTOVERS_INTERVAL),
                repeat(reporter.report, REPORT_INTERVAL),
            ]
            tasks = [asyncio.create_task(coroutine) for coroutine in background]
            stack.push_async_callback(cancel, tasks)
            await _unless_over(self._with_prefect, stop, self._runtime.superseded)
            self._client.muted = True
            logging.getLogger("prefect").setLevel(logging.CRITICAL)  # each flow run would report a crash

    async def _open(self, stack: AsyncExitStack) -> None:
        database = self._settings.configured_database()
        if database is None:
            raise ConfigurationError("environment: BARTENDER_DB_DSN is missing: name the server's database")
        stack.enter_context(temporary_settings(_PREFECT_SETTINGS))
        place = replace(self._settings.place(self._config), worker=self._name)
        pool = Pool(database, _LIMITS, echo=self._settings.db_echo)
        stack.push_async_callback(pool.close)
        self._host = _host(place)
        self._presence = await stack.enter_async_context(Presence(database, self._name, self._host))
        jobs = OwnedJobs(pool, self._presence.number)
        self._told = ToldJobs(pool, self._presence.number)
        self._runtime = await stack.enter_async_context(open_runtime(jobs, self._config, place, self._picker))
        # What follows may have to wait for others, longer than the lease lasts.
        renewal = asyncio.create_task(repeat(self._renew_lease, RENEWAL_INTERVAL))
        stack.push_async_callback(cancel, [renewal])
        await patiently(lambda: forget_what_must_not_start(self._runtime))
        # Before the client that all flow runs share: it has one of its own.
        self._heeded = Heeded(place.data_dir / f"heeded.{self._name}")
        dispatcher = Dispatcher(Outbox(pool), self._config, lambda: self._makes_runs_first)
        self._dispatcher = await stack.enter_async_context(dispatcher)
        # They log each failed step with a traceback, also where the visitor's archive is to blame; what is a
        # mistake of ours is logged by flows.lifecycle.ending.
        for runs in ("flow_runs", "task_runs"):
            logging.getLogger(f"prefect.{runs}").setLevel(logging.CRITICAL)
        # Prefect's result storage opens a client of its own in every run unless this one is there.
        stack.enter_context(SyncClientContext())
        self._client = (await stack.enter_async_context(PatientClientContext())).client
        login, by_route = PREFECT_API_AUTH_STRING.value(), self._settings.prefect_route
        recorder = open_recorder(self._client, login, by_route=by_route)
        self._recorder = await stack.enter_async_context(recorder)
        self._runs = JobRuns(self._runtime, self._recorder)
        stack.push_async_callback(self._stop_runs)
        self._prefect = PrefectSide(
            self._name,
            self._heeded,
            self._client,
            self._recorder,
            self._runtime,
            self._runs,
            self._jobs_wait.set,
        )
        self._with_prefect = asyncio.create_task(self._prefect.run(), name="with Prefect")
        stack.push_async_callback(cancel, [self._with_prefect])
        if not (by_route and self._heeded.begins_first):
            await _unless_over(self._with_prefect, self._prefect.is_ready)

    async def _stop_runs(self) -> None:
        await self._runs.stop(prefect_answers=self._prefect.is_ready.is_set())

    @property
    def _makes_runs_first(self) -> bool:
        """Whether jobs begin when Prefect has their flow runs."""
        return self._heeded.said is not None and not self._heeded.begins_first

    async def _keep_presence(self) -> None:
        on_notice = {
            SUBMISSION_CHANNEL: self._hear_of_submissions,
            CHANNEL: self._jobs_wait.set,
            CANCEL_CHANNEL: self._jobs_are_cancelled.set,
        }
        await self._presence.keep(on_notice)

    def _hear_of_submissions(self) -> None:
        if self._makes_runs_first:
            self._dispatcher.wake()
        else:
            self._jobs_wait.set()

    async def _renew_lease(self) -> None:
        if not await self._presence.renew():
            logger.error("The lease of this worker is over: others may run its jobs. It begins anew.")
            self._runtime.superseded.set()

    async def _take_over(self) -> None:
        """Continue jobs of workers that are not heard of any more, those before us of our name included."""
        local = self._runtime.local_destinations
        while jobs := await self._runtime.jobs.take_over(self._name, self._host, local, limit=CLAIMS):
            logger.info("Continuing %s jobs of workers that are gone", len(jobs))
            for job in jobs:
                self._runs.resume(job)

    async def _see_to_stranded_jobs(self) -> None:
        cancelled = self._prefect.cancelled_elsewhere()
        for job in await see_to_stranded_jobs(self._runtime, cancelled):
            logger.warning("Job %s has ended here; its command may go on where its worker was", job.id)
            self._runs.tell(job)

    async def _claim(self) -> None:
        limits, made_before = self._heeded.limits, self._makes_runs_first
        if limits is None:
            return
        while cancelled := await self._runtime.jobs.claim_cancelled(limit=CLAIMS, made_before=made_before):
            for job in cancelled:
                self._runs.start(job)
        of_each = self._config.quotas.running
        while not limits.is_paused:
            jobs = await self._runtime.jobs.claim(
                limit=CLAIMS, at_most=limits.at_most, of_each=of_each, made_before=made_before
            )
            for job in jobs:
                self._runs.start(job)
            if len(jobs) < CLAIMS:
                break

    async def _explain_waiting_jobs(self) -> None:
        """Not at each look for jobs: it asks about all that wait."""
        limits, made_before = self._heeded.limits, self._makes_runs_first
        if limits is None:
            return
        of_each = None if limits.is_paused else self._config.quotas.running
        reason = (PAUSED if limits.is_paused else LIMITED) if self._heeded.holds_back else None
        if reason is not None or of_each is not None:
            await self._runtime.jobs.explain_unclaimed(reason, of_each=of_each, made_before=made_before)

    def _look_interval(self) -> float:
        # Whoever ends a job does not tell those who wait for its place.
        limits = self._heeded.limits
        is_limited = self._config.quotas.running is not None or (limits and limits.at_most is not None)
        return LIMITED_INTERVAL if is_limited else SWEEP_INTERVAL

    async def _tell_of_waiting_jobs(self) -> None:
        """Tell soon of those that operators hold back; of others, whoever begins them tells."""
        if self._makes_runs_first:
            return
        if self._heeded.holds_back or time.monotonic() > self._told_of_waiting + SWEEP_INTERVAL:
            self._told_of_waiting = time.monotonic()
            await tell_of_waiting_jobs(self._told, self._recorder)

    async def _cancel_for_visitors(self) -> None:
        for job in await self._runtime.jobs.to_cancel():
            if job.flow_run_id is not None:
                self._runs.cancel(job.flow_run_id)

    async def _purge(self) -> None:
        """Remove what is left of deleted jobs where whoever should have done it was interrupted."""
        for job in await self._runtime.end_requests.to_purge():
            await purge(job, self._runtime.place, self._runtime.end_requests)

    async def _leave_former_destinations(self) -> None:
        await leave_former_destinations(self._runtime)

    async def _end_leftovers(self) -> None:
        """Each worker for itself: it is the one that sees its commands."""
        for token in await end_leftover_commands(self._runtime):
            logger.warning("The command %s had no job under way; it was ended and forgotten", token)


async def _unless_over(work: asyncio.Task[None], *events: asyncio.Event) -> None:
    """Wait for one of the events, or raise what has ended the work, which else has no end."""
    wait = asyncio.create_task(first(*events))
    try:
        await asyncio.wait([wait, work], return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
    finally:
        await cancel([wait])


def _host(place: Place) -> str:
    """Return what is the same for workers that see each other's local commands."""
    # Processes of another container of this machine are not seen.
    return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')} {place.data_dir}"  # noqa: PTH115
