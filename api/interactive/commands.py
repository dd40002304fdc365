"""Interactive applications: quick commands on a job that has ended, while the visitor waits."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial

from fastapi import Request
from starlette.requests import ClientDisconnect

from api.http.storage import room_or_storage_full
from api.interactive.embedded_files import TemporaryFiles, extracted
from api.interactive.json_body import json_object, receive_json
from api.interactive.scratch import scratch
from api.interactive.turns import NoDirectory, Turns
from api.values.schema import InputSchema, rendered
from deployments.settings import Settings
from flows.configuration.config import Config, InteractiveApplication
from flows.disk import private_files
from flows.disk.places import Place
from flows.errors import InvalidUpload, JobNotFound, Unavailable, UnknownApplication, VisitorError
from flows.jobs.job import Job
from flows.local import quick_commands
from flows.local.quick_commands import Result
from flows.waiting.threads import to_the_end

_STOPPING = "The server is stopping; try again in a few seconds."


class NotForThisJob(VisitorError):
    """The interactive application is for jobs of another application."""


class CommandTooSlow(VisitorError):
    """The command did not end in the time that it has."""


class Interactive:
    """The interactive applications, and those commands of them that run in this process."""

    def __init__(self, config: Config, settings: Settings, place: Place) -> None:
        self._applications = {
            name: _Application(name, application)
            for name, application in config.interactive_applications.items()
        }
        self._place = place
        self._max_size = settings.interactive_max_size
        self._locks = place.interactive / "locks"
        self._turns = Turns(settings.interactive_slots, self._locks)
        self._commands: set[asyncio.Task[Result]] = set()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Interactive"]:
        """Make room for temporary files; at the end, end all commands."""
        await asyncio.to_thread(private_files.make_directory, self._locks)
        async with scratch(self._place.interactive / "files") as self._scratch:
            try:
                yield self
            finally:
                await _end(self._commands)

    async def run(self, name: str, job: Job, request: Request) -> Result:
        """Run an interactive application on a job that has ended; the values are in the request's body.

        Raises VisitorError, Unavailable or Starlette's ClientDisconnect; the command has ended then.
        """
        application = self._application(name, job)
        with self._turns.line():
            body = await receive_json(request, limit=self._max_size)
            command = asyncio.create_task(self._run(application, body, job), name=f"{name} on job {job.id}")
            self._commands.add(command)
            command.add_done_callback(self._commands.discard)
            return await _attended(command, request)

    def _application(self, name: str, job: Job) -> "_Application":
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

    async def _run(self, application: "_Application", body: bytes, job: Job) -> Result:
        files = TemporaryFiles(self._scratch / uuid.uuid4().hex)
        try:
            command = await to_the_end(partial(application.command, body, files))
            async with self._turns.turn(self._place.job_dir(job.id)) as directory:
                return await application.run(command, directory)
        except NoDirectory as error:
            raise JobNotFound(f"Job {job.id} has no files.") from error
        finally:
            await to_the_end(files.remove)


class _Application:
    def __init__(self, name: str, configured: InteractiveApplication) -> None:
        self.name = name
        self.configured = configured
        self._schema = InputSchema(configured.input_schema)

    def command(self, body: bytes, files: TemporaryFiles) -> str:
        """Return the command that the body makes, and write the files that are embedded in it."""
        try:
            with room_or_storage_full():
                values = extracted(self._schema, self._schema.completed(json_object(body)), files)
        except RecursionError as error:
            raise InvalidUpload("The values are too deep in each other; send flatter ones.") from error
        return rendered(self.configured.command_template, values)

    async def run(self, command: str, directory: int) -> Result:
        seconds = self.configured.timeout
        try:
            return await quick_commands.run(command, directory, seconds=seconds)
        except TimeoutError as error:
            raise CommandTooSlow(
                f"Interactive application {self.name!r} did not end in {seconds:g} seconds and was stopped."
            ) from error


async def _attended(command: asyncio.Task[Result], request: Request) -> Result:
    """Return what the command does; end it when the visitor goes away, or when we are cancelled."""
    leaving = asyncio.create_task(_leave(request))
    try:
        await asyncio.wait({command, leaving}, return_when=asyncio.FIRST_COMPLETED)
        left = not command.done()
    except asyncio.CancelledError as error:  # nobody but the server cancels requests
        raise Unavailable(_STOPPING) from error
    finally:
        leaving.cancel()
        await _end({command})
    if left:
        raise ClientDisconnect
    try:
        return command.result()
    except asyncio.CancelledError as error:
        raise Unavailable(_STOPPING) from error


async def _leave(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def _end(commands: set[asyncio.Task[Result]]) -> None:
    for command in commands:
        command.cancel()
    if commands:
        ended, _ = await asyncio.wait(set(commands))
        for command in ended:
            with suppress(asyncio.CancelledError):
                command.exception()  # else asyncio complains that nobody looked at it
