"""A cluster that is reached by slurmrestd, whose jobs' directories are on a disk of this machine too."""

import asyncio
import logging
import pwd
import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from flows.batch import guards, script
from flows.batch.conclusions import TO_BE_SUBMITTED_AGAIN
from flows.batch.references import Reference, job_names
from flows.batch.rows import Evidence
from flows.destinations.scheduler import Submission
from flows.errors import Unavailable
from flows.local.environment import clean_environment
from flows.slurm import complaints, rest_messages, states
from flows.slurm.commands import RUNNING
from flows.slurm.options import SlurmRequest, account
from flows.slurm.queries import Row
from flows.slurm.rest_connection import RestConnection
from flows.slurm.rest_dialects import Api
from flows.slurm.rest_queue import RestQueue
from flows.wrapper.command import payload

logger = logging.getLogger(__name__)

T = TypeVar("T")

_JOBS_IN_A_QUESTION = 300
"""They are in the address of a request."""

_REMEMBERED = timedelta(days=7)


class RestCluster:
    """slurmrestd's controller and accounting, and the notes of jobs' scripts on the disk."""

    vanished = TO_BE_SUBMITTED_AGAIN

    def __init__(
        self, request: SlurmRequest, properties: Mapping[str, Any], connection: RestConnection
    ) -> None:
        self._request = request
        self._properties = properties
        self._connection = connection
        self._queue = RestQueue(connection)

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        """Keep the protocol that ``script`` tells: its ``_SUBMIT`` is this method in the shell's language."""
        guard = Path(reference.guard)
        this = uuid.uuid4().hex
        content = payload(self._request.setup, submission.command, variables)
        text = script.batch_script(
            RUNNING,
            guard=str(guard),
            directory=str(submission.directory),
            submission=this,
            shell=self._request.shell,
        )
        if not await _on_disk(guards.make, guard):
            if await _on_disk(guards.is_cancelled, guard):
                return None
            if (before := await self._submitted_before(submission, guard)) is not None:
                return before
        api = await self._connection.api()
        job = await self._job(api, submission, text)
        await _on_disk(guards.write_command, guard, this, content)
        answer = await self._connection.request(api, "POST", "slurm/job/submit", json=job)
        slurm_id = rest_messages.submitted(answer)
        if answer.ignored:
            await self._take_back(reference, slurm_id)
            raise rest_messages.ignored(answer.ignored)
        return slurm_id

    async def _job(self, api: Api, submission: Submission, script: str) -> dict[str, Any]:
        """Make the job; refuse one with properties that the server would ignore."""
        whose = account(submission.submitter) if self._request.submitter_as_account else None
        job = rest_messages.job(
            submission,
            script=script,
            asked={**api.dialect.asked(self._request), "account": whose},
            environment=api.dialect.environment(_environment(await self._connection.whom())),
            more=self._properties,
        )
        if api.properties and (unknown := job["job"].keys() - api.properties):
            raise rest_messages.ignored(unknown)
        return job

    async def _take_back(self, reference: Reference, slurm_id: str) -> None:
        """Keep a job from beginning, then cancel it. If that fails, clean-up does it."""
        await self.mark_cancelled(reference)
        try:
            await self.cancel([slurm_id])
        except Unavailable as error:
            logger.warning("Job %s of Slurm is not taken back now: %s", slurm_id, error)

    async def _submitted_before(self, submission: Submission, guard: Path) -> str | None:
        """Return the job of a submission whose answer was lost; of several, all scripts but one give way."""
        ids = [row.batch_id for row in await self.queue(None) if row.token == submission.token]
        if not ids:
            rows = await self._accounted([("job_name", job_names(submission))]) or []
            ids = [
                row.batch_id
                for row in rows
                if row.token == submission.token and row.state not in states.ACTIVE
            ]
        if not ids and (begun := await _on_disk(guards.begun_as, guard)):
            ids = [begun]
        return min(ids, key=int, default=None)

    async def queue(self, of: Collection[Reference] | None) -> list[Row]:
        return await self._queue.rows(of)

    async def check(self) -> None:
        answer = await self._connection.request(await self._connection.api(), "GET", "slurm/partitions")
        if not answer.is_good or not isinstance(answer.body.get("partitions"), list):
            raise complaints.no_answer(answer.sentence)

    async def evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        notes = await _on_disk(lambda: {job: guards.notes(Path(job.guard)) for job in ended})
        api = await self._connection.api()
        ids = sorted({reference.batch_id for reference in unknown if reference.batch_id})
        found: list[Row] = []
        for start in range(0, len(ids), _JOBS_IN_A_QUESTION):
            rows = await self._accounted(api.dialect.steps(ids[start : start + _JOBS_IN_A_QUESTION]))
            if rows is None:
                return Evidence(notes, None)
            found += rows
        return Evidence(notes, found)

    async def _accounted(self, which: Sequence[tuple[str, str]]) -> list[Row] | None:
        """Return what accounting has; None when it does not answer."""
        since = (datetime.now() - _REMEMBERED).strftime("%Y-%m-%dT%H:%M:%S")
        params = [*which, ("start_time", since), ("skip_steps", "true")]
        try:
            api = await self._connection.api()
            answer = await self._connection.request(api, "GET", "slurmdb/jobs", params=params)
            if answer.status == 404:
                return []  # this slurmrestd has no accounting
            return answer.rows(api.dialect.accounted, self._connection.user)
        except Unavailable as error:
            logger.info("Slurm's accounting does not answer: %s", error)
            return None

    async def mark_cancelled(self, reference: Reference) -> None:
        try:
            await asyncio.to_thread(guards.mark_cancelled, Path(reference.guard))
        except OSError as error:
            logger.warning("Job %s is cancelled without a note (%s)", reference, error)

    async def cancel(self, slurm_ids: Collection[str]) -> None:
        api = await self._connection.api()
        for slurm_id in slurm_ids:
            answer = await self._connection.request(api, "DELETE", f"slurm/job/{slurm_id}")
            said = api.dialect.of_cancelling(answer)
            if not said and not answer.is_good:
                raise complaints.no_answer(answer.sentence)
            if failed := [complaint.text for complaint in said if not rest_messages.of_ended(complaint)]:
                raise complaints.no_answer("; ".join(failed))

    async def close(self) -> None:
        await self._connection.close()


async def _on_disk(function: Callable[..., T], *arguments: Any) -> T:
    try:
        return await asyncio.to_thread(function, *arguments)
    except OSError as error:
        raise Unavailable(f"The notes of the job cannot be written or read ({error}).") from error


def _environment(user: str) -> dict[str, str]:
    """Return what the job's script starts with: slurmrestd has nothing of its own for it."""
    known = {"USER": user, "LOGNAME": user}
    with suppress(KeyError):
        account = pwd.getpwnam(user)
        known |= {"HOME": account.pw_dir, "SHELL": account.pw_shell}
    return clean_environment(known)
