"""Schedulers whose jobs have no directories, for a contract that looks at what is in them.

Their containers see this machine's files, so each command changes to the directory that it would have.
"""

import shlex
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

from flows.destinations.scheduler import Scheduler, Status, Submission
from flows.disk.places import Place
from flows.errors import JobFailure
from flows.filesystems.s3 import Filesystem
from flows.wrapper import verdicts

_COMMAND = """cd {directory} || exit
exec >stdout.txt 2>stderr.txt
trap 'printf %s "$?" >returncode' EXIT
{command}"""


class InDirectories:
    """A scheduler, and the filesystem that its jobs' files go by."""

    commands_are_here: ClassVar[bool] = False

    def __init__(self, scheduler: Scheduler, filesystem: Filesystem, place: Place) -> None:
        self._scheduler = scheduler
        self._filesystem = filesystem
        self._place = place

    async def submit(self, submission: Submission) -> str:
        sent = self._sent(submission.token)
        sent.mkdir(parents=True, exist_ok=True)
        await self._filesystem.stage_in(sent, submission.token)
        command = _COMMAND.format(
            directory=shlex.quote(str(submission.directory)), command=submission.command
        )
        addresses = await self._filesystem.addresses(submission.token)
        return await self._scheduler.submit(replace(submission, command=command, addresses=addresses))

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        async for status in self._scheduler.watch(scheduler_id):
            yield await self._told(scheduler_id, status)

    async def _told(self, scheduler_id: str, status: Status) -> Status:
        if not status.is_last or status.failure is not None:
            return status
        token = scheduler_id.rpartition(":")[2]
        await self._filesystem.stage_out(self._sent(token), token)
        verdict = verdicts.returncode(self._sent(token))
        if isinstance(verdict, JobFailure):
            return replace(status, failure=verdict)
        (self._place.job_root / token / "returncode").write_text(str(verdict))
        return replace(status, returncode=verdict)

    def _sent(self, token: str) -> Path:
        return self._place.data_dir / "sent" / token

    async def cancel(self, scheduler_id: str) -> None:
        await self._scheduler.cancel(scheduler_id)

    async def forget(self, scheduler_id: str) -> None:
        await self._scheduler.forget(scheduler_id)

    async def check(self) -> None:
        await self._scheduler.check()

    async def close(self) -> None:
        await self._scheduler.close()
        await self._filesystem.close()
