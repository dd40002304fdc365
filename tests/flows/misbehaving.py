"""Parts of a destination, and a picker, that do what a test asks for."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import ClassVar

from flows.destinations.scheduler import Status, Submission
from flows.jobs.job import Job
from flows.jobs.users import User
from flows.lifecycle.runtime import Runtime
from flows.pickers import PickerContext, pick_first
from tests.waiting import LONG_ENOUGH


class Scheduler:
    """Does what a test asks for."""

    commands_are_here: ClassVar[bool] = True

    def __init__(self) -> None:
        self.submit_errors: list[Exception] = []
        self.watch_errors: list[Exception] = []
        self.loses = 0
        self.returncode = 0
        self.writes: dict[str, str] = {}
        self.submitted: list[str] = []
        self.cancelled: list[str] = []
        self.forgotten: list[str] = []

    async def submit(self, submission: Submission) -> str:
        if self.submit_errors:
            raise self.submit_errors.pop(0)
        self.submitted.append(submission.token)
        for name, content in self.writes.items():
            (submission.directory / name).write_text(content)
        return submission.token if len(self.submitted) == 1 else f"{submission.token}-{len(self.submitted)}"

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        if self.loses:
            self.loses -= 1
            yield Status(state="queued")
            yield Status(state="lost")
            return
        yield Status(state="running")
        if self.watch_errors:
            raise self.watch_errors.pop(0)
        yield Status(state="ended", returncode=self.returncode)

    async def cancel(self, scheduler_id: str) -> None:
        self.cancelled.append(scheduler_id)

    async def forget(self, scheduler_id: str) -> None:
        self.forgotten.append(scheduler_id)

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Picker:
    def __init__(self) -> None:
        self.error: Exception | None = None
        self.answer: str | None = None

    def __call__(self, job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
        if self.error is not None:
            raise self.error
        return self.answer or pick_first(job_dir, application_name, submitter, context)


class FarFiles:
    """Files that are nowhere; raises what a test asks for."""

    files_are_here: ClassVar[bool] = False

    def __init__(self) -> None:
        self.errors: list[Exception] = []
        self.removed: list[str] = []

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        if self.errors:
            raise self.errors.pop(0)
        return job_dir

    async def stage_out(self, job_dir: Path, token: str) -> None:
        pass

    async def remove(self, job_dir: Path, token: str) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.removed.append(token)

    async def check(self) -> None:
        pass

    async def close(self) -> None:
        pass


async def says(runtime: Runtime, job: Job, reason: str) -> None:
    """Wait until the job gives this reason."""
    async with asyncio.timeout(LONG_ENOUGH):
        while (await runtime.jobs.get(job.id)).reason != reason:
            await asyncio.sleep(0.02)
