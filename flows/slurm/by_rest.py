"""A cluster that is reached by slurmrestd, whose jobs' directories are on a disk of this machine too."""

import asyncio
import logging
import pwd
import uuid
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

from flows.destinations.scheduler import Submission
from flows.errors import Unavailable
from flows.local.environment import clean_environment
from flows.slurm import complaints, guards, rest_messages, script, states
from flows.slurm.options import SlurmRequest
from flows.slurm.queries import Evidence, Row
from flows.slurm.references import Reference, job_names
from flows.slurm.rest_connection import RestConnection

logger = logging.getLogger(__name__)

T = TypeVar("T")

_JOBS_IN_A_QUESTION = 300
"""They are in the address of a request."""

_REMEMBERED = timedelta(days=7)


class RestCluster:
    """slurmrestd's controller and accounting, and the notes of jobs' scripts on the disk."""

    def __init__(
        self, request: SlurmRequest, properties: Mapping[str, Any], connection: RestConnection
    ) -> None:
        self._request = request
        self._properties = properties
        self._connection = connection

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        """Keep the protocol that ``script`` tells: its ``_SUBMIT`` is this method in the shell's language."""
        guard = Path(reference.guard)
        this = uuid.uuid4().hex
        content = script.payload(self._request.setup, submission.command, variables)
        text = script.batch_script(
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
        await _on_disk(guards.write_command, guard, this, content)
        user = await self._connection.whom()
        job = rest_messages.job(
            self._request, submission, script=text, environment=_environment(user), more=self._properties
        )
        return rest_messages.submitted(
            await self._connection.request("POST", "slurm", "job/submit", json=job)
        )

    async def _submitted_before(self, submission: Submission, guard: Path) -> str | None:
        """Return the job of a submission whose answer was lost; of several, all scripts but one give way."""
        ids = [row.slurm_id for row in await self.queue() if row.token == submission.token]
        if not ids:
            rows = await self._accounted({"job_name": job_names(submission)}) or []
            ids = [
                row.slurm_id
                for row in rows
                if row.token == submission.token and row.state not in states.ACTIVE
            ]
        if not ids and (begun := await _on_disk(guards.begun_as, guard)):
            ids = [begun]
        return min(ids, key=int, default=None)

    async def queue(self) -> list[Row]:
        answer = await self._connection.request("GET", "slurm", "jobs")
        return answer.rows(rest_messages.queued, self._connection.user)

    async def check(self) -> None:
        answer = await self._connection.request("GET", "slurm", "partitions")
        if not answer.is_good or not isinstance(answer.body.get("partitions"), list):
            raise complaints.no_answer(answer.sentence)

    async def evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        notes = await _on_disk(lambda: {job: guards.notes(Path(job.guard)) for job in ended})
        ids = sorted({reference.slurm_id for reference in unknown if reference.slurm_id})
        found: list[Row] = []
        for start in range(0, len(ids), _JOBS_IN_A_QUESTION):
            # A list of job steps, of which a job's id means all.
            rows = await self._accounted({"step": ",".join(ids[start : start + _JOBS_IN_A_QUESTION])})
            if rows is None:
                return Evidence(notes, None)
            found += rows
        return Evidence(notes, found)

    async def _accounted(self, which: Mapping[str, str]) -> list[Row] | None:
        """Return what accounting has; None when it does not answer."""
        since = (datetime.now() - _REMEMBERED).strftime("%Y-%m-%dT%H:%M:%S")
        params = {**which, "start_time": since, "skip_steps": "true"}
        try:
            answer = await self._connection.request("GET", "slurmdb", "jobs", params=params)
            if answer.status == 404:
                return []  # this slurmrestd has no accounting
            return answer.rows(rest_messages.accounted, self._connection.user)
        except Unavailable as error:
            logger.info("Slurm's accounting does not answer: %s", error)
            return None

    async def mark_cancelled(self, reference: Reference) -> None:
        try:
            await asyncio.to_thread(guards.mark_cancelled, Path(reference.guard))
        except OSError as error:
            logger.warning("Job %s is cancelled without a note (%s)", reference, error)

    async def cancel(self, slurm_ids: Collection[str]) -> None:
        for slurm_id in slurm_ids:
            answer = await self._connection.request("DELETE", "slurm", f"job/{slurm_id}")
            if not answer.is_good and not rest_messages.is_over(answer):
                raise complaints.no_answer(answer.sentence)

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
