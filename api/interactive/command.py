"""One command of an interactive application: from the values to what the visitor is told."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from api.http.storage import room_or_storage_full
from api.interactive.embedded_files import TemporaryFiles, extracted
from api.interactive.json_body import json_object
from api.values.schema import InputSchema, rendered
from flows.configuration.config import InteractiveApplication
from flows.errors import InvalidUpload, VisitorError
from flows.jobs.job import Job
from flows.local import quick_commands
from flows.local.quick_commands import Result


class CommandTooSlow(VisitorError):
    """The command did not end in the time that it has."""


class CommandGoesOn(CommandTooSlow):
    """The command did not end while the visitor waited; its result will be at ``location``."""

    def __init__(self, message: str, location: str) -> None:
        super().__init__(message)
        self.location = location


@dataclass(frozen=True)
class Accepted:
    """The result will be at ``location``: the visitor does not want to wait."""

    location: str


class Application:
    """An interactive application: makes commands of values and runs them."""

    def __init__(self, name: str, configured: InteractiveApplication) -> None:
        self.name = name
        self.configured = configured
        self._schema = InputSchema(configured.input_schema)

    def values(self, body: bytes) -> dict[str, Any]:
        """Return the values that the body is, with the schema's defaults."""
        try:
            return self._schema.completed(json_object(body))
        except RecursionError as error:
            raise _too_deep() from error

    def command(self, values: dict[str, Any], files: TemporaryFiles) -> str:
        """Return the command that the values make, and write the files that are embedded in them."""
        try:
            with room_or_storage_full():
                values = extracted(self._schema, values, files)
        except RecursionError as error:
            raise _too_deep() from error
        return rendered(self.configured.command_template, values)

    async def run(self, command: str, directory: int) -> Result:
        seconds = self.configured.kill_after
        try:
            return await quick_commands.run(command, directory, seconds=seconds)
        except TimeoutError as error:
            raise CommandTooSlow(
                f"Interactive application {self.name!r} did not end in {seconds:g} seconds and was stopped."
            ) from error


class Command:
    """A command that was asked for. ``values`` names it; ``is_kept`` once its result will be.

    ``results`` is where the results of this application on the job are, as the visitor reaches it.
    """

    task: asyncio.Task[Result]

    def __init__(
        self, application: Application, job: Job, values: str, results: str, *, is_async: bool
    ) -> None:
        self.application = application
        self.job = job
        self.values = values
        self.results = results
        self.is_async = is_async
        self.is_kept = False
        self.not_waited_for = asyncio.Event()
        self.files: str | None = None

    @contextmanager
    def waited_for(self) -> Iterator[None]:
        """Let the visitor wait while it runs, but not for too long."""
        configured = self.application.configured
        if configured.kill_after <= configured.timeout:
            yield
            return
        timer = asyncio.get_running_loop().call_later(configured.timeout, self.not_waited_for.set)
        try:
            yield
        finally:
            timer.cancel()

    def elsewhere(self, known: str) -> Accepted:
        """Return where the result will be, or raise CommandGoesOn for a visitor who has waited."""
        name, seconds = self.application.name, self.application.configured.timeout
        location = f"{self.results}/{known}"
        if self.is_async:
            return Accepted(location)
        raise CommandGoesOn(
            f"Interactive application {name!r} did not end in {seconds:g} seconds. "
            f"It goes on: its result will be at {location}.",
            location,
        )


def _too_deep() -> InvalidUpload:
    return InvalidUpload("The values are too deep in each other; send flatter ones.")
