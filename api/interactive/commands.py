"""Interactive applications: quick commands on a job that has ended, while the visitor waits."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Coroutine
from contextlib import ExitStack, asynccontextmanager, suppress
from functools import partial
from typing import Any, TypeVar
from urllib.parse import quote

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.http.prefix import below
from api.http.storage import StorageFull, room_or_storage_full
from api.interactive.command import Accepted, Application, Command, CommandTooSlow
from api.interactive.embedded_files import TemporaryFiles
from api.interactive.json_body import receive_json
from api.interactive.kept import CommandRuns, KeptResults, Outcome, digest, state_of
from api.interactive.scratch import scratch
from api.interactive.turns import NoDirectory, Turns
from deployments.settings import Settings
from flows.configuration.config import Config
from flows.disk import private_files
from flows.disk.places import Place
from flows.errors import (
    BartenderError,
    InvalidUpload,
    JobNotFound,
    Unavailable,
    UnknownApplication,
    VisitorError,
    with_cause,
)
from flows.jobs.job import Job
from flows.local.quick_commands import Result
from flows.waiting.cancelling import cancel
from flows.waiting.threads import to_the_end

logger = logging.getLogger(__name__)
T = TypeVar("T")

_STOPPING = "The server is stopping; try again in a few seconds."
_LOOK_INTERVAL = 0.25
_SWEEP_INTERVAL = 600.0


class NotForThisJob(VisitorError):
    """The interactive application is for jobs of another application."""


class Interactive:
    """The interactive applications, and those commands of them that run in this process."""

    def __init__(self, config: Config, settings: Settings, place: Place) -> None:
        self._applications = {
            name: Application(name, application)
            for name, application in config.interactive_applications.items()
        }
        self._place = place
        self._max_size = settings.interactive_max_size
        self._locks = place.interactive / "locks"
        self._turns = Turns(settings.interactive_slots, self._locks)
        self._tasks: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Interactive"]:
        """Make room for temporary files and results; at the end, end all commands."""
        await asyncio.to_thread(private_files.make_directory, self._locks)
        async with scratch(self._place.interactive / "files") as self._scratch:
            self._kept = await asyncio.to_thread(
                KeptResults, self._place.interactive / "results", self._scratch
            )
            sweeping = asyncio.create_task(self._sweep())
            try:
                yield self
            finally:
                await cancel([sweeping, *self._tasks])

    async def _sweep(self) -> None:
        while True:
            try:
                await to_the_end(self._kept.sweep)
            except OSError as error:
                logger.warning("Old results of interactive applications stay: %s", with_cause(error))
            await asyncio.sleep(_SWEEP_INTERVAL)

    async def run(self, name: str, job: Job, request: Request) -> Result | Accepted:
        """Run an interactive application on a job that has ended; the values are in the request's body.

        Raises CommandGoesOn, another VisitorError, Unavailable or Starlette's ClientDisconnect; but for the
        first the command has ended then.
        """
        application = self._application(name, job)
        with ExitStack() as in_line:
            in_line.enter_context(self._turns.line(job.submitter))
            body = await receive_json(request, limit=self._max_size)
            values = await to_the_end(partial(application.values, body))
            results = below(request, f"/api/job/{job.id}/interactive/{quote(name, safe='')}")
            is_async = _responds_async(request)
            command = Command(application, job, digest(name, values), results, is_async=is_async)
            earlier = partial(self._kept.same, job, command.values, self._place.job_dir(job.id))
            if (known := await to_the_end(earlier)) is not None:
                return await self._of_earlier(command, known, request)
            command.task = self._task(self._run(command, values))
            command.task.add_done_callback(partial(_close, in_line.pop_all()))
        return await self._attended(command, request)

    async def result(self, name: str, job: Job, known: str) -> Result:
        """Return what came of a command that was not waited for; raise VisitorError or Unavailable."""
        outcome = await to_the_end(partial(self._kept.outcome, job.id, known))
        if outcome.application != name:
            raise JobNotFound(f"Interactive application {name[:100]!r} has no such result.")
        if outcome.result is None:
            error, sentence = outcome.problem or ("", "Something went wrong here that is not your fault.")
            raise _PROBLEMS.get(error, Unavailable)(sentence)
        return outcome.result

    def _task(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _attended(self, command: Command, request: Request) -> Result | Accepted:
        """Return what the command does; end it when the visitor goes away, or when we are cancelled."""
        task = command.task
        leaving = asyncio.create_task(_leave(request))
        waited = asyncio.create_task(command.not_waited_for.wait())
        goes_on = False
        try:
            await asyncio.wait({task, leaving, waited}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and command.not_waited_for.is_set():
                command.is_kept = True
                known = await self._keep(command)
                goes_on = True
                return command.elsewhere(known)
            if not task.done():
                raise ClientDisconnect
        except asyncio.CancelledError as error:  # nobody but the server cancels requests
            raise Unavailable(_STOPPING) from error
        finally:
            leaving.cancel()
            waited.cancel()
            if not goes_on:
                await cancel([task])
        try:
            return task.result()
        except asyncio.CancelledError as error:
            raise Unavailable(_STOPPING) from error

    async def _of_earlier(self, command: Command, known: str, request: Request) -> Result | Accepted:
        """Return the result of a command with the same values, which may run in another process."""
        leaving = asyncio.create_task(_leave(request))
        try:
            async with asyncio.timeout(0 if command.is_async else command.application.configured.timeout):
                while not leaving.done():
                    with suppress(CommandRuns):
                        return await self.result(command.application.name, command.job, known)
                    await asyncio.wait({leaving}, timeout=_LOOK_INTERVAL)
        except TimeoutError:
            return command.elsewhere(known)
        except asyncio.CancelledError as error:
            raise Unavailable(_STOPPING) from error
        finally:
            leaving.cancel()
        raise ClientDisconnect

    async def _keep(self, command: Command) -> str:
        """Let the command go on, and return the id of its result."""

        def begin() -> str:
            with room_or_storage_full():
                return self._kept.begin(command.job, command.values)

        known = await to_the_end(begin)
        self._task(self._keep_outcome(command, known))
        return known

    async def _keep_outcome(self, command: Command, known: str) -> None:
        await asyncio.wait({command.task})
        if command.task.cancelled():
            return  # we are stopping, which is what its result will say
        error = command.task.exception()
        if error is None:
            outcome = Outcome(
                application=command.application.name, result=command.task.result(), files=command.files
            )
        else:
            if not isinstance(error, BartenderError):
                logger.error("An interactive application failed", exc_info=error)
            problem = (type(error).__name__, str(error)) if isinstance(error, BartenderError) else None
            outcome = Outcome(application=command.application.name, problem=problem)
        try:
            await to_the_end(partial(self._kept.end, command.job, command.values, known, outcome))
        except OSError as failure:
            logger.warning("A result of an interactive application is lost: %s", with_cause(failure))

    def _application(self, name: str, job: Job) -> Application:
        application = self._applications.get(name)
        if application is None:
            raise UnknownApplication(f"There is no interactive application {name[:100]!r}.")
        needed = application.configured.job_application
        if needed not in {None, job.application}:
            raise NotForThisJob(
                f"Interactive application {name!r} is for jobs of application {needed!r}; "
                f"job {job.id} is one of {job.application!r}."
            )
        return application

    async def _run(self, command: Command, values: dict[str, Any]) -> Result:
        application, job_dir = command.application, self._place.job_dir(command.job.id)
        files = TemporaryFiles(self._scratch / uuid.uuid4().hex)
        try:
            line = await to_the_end(partial(application.command, values, files))
            del values  # which may be large
            patience = application.configured.kill_after if command.is_async else None
            if command.is_async:
                command.not_waited_for.set()
            async with self._turns.turn(command.job.submitter, job_dir, patience) as directory:
                with command.waited_for():
                    result = await application.run(line, directory)
                if command.is_kept:
                    command.files = await to_the_end(partial(state_of, job_dir))
                return result
        except NoDirectory as error:
            raise JobNotFound(f"Job {command.job.id} has no files.") from error
        finally:
            await to_the_end(files.remove)


_PROBLEMS: dict[str, type[BartenderError]] = {
    error.__name__: error for error in (CommandTooSlow, InvalidUpload, JobNotFound, StorageFull, Unavailable)
}


def _responds_async(request: Request) -> bool:
    preferences = ",".join(request.headers.getlist("Prefer")).split(",")
    return any(part.partition(";")[0].strip().lower() == "respond-async" for part in preferences)


def _close(in_line: ExitStack, _task: object) -> None:
    in_line.close()


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
