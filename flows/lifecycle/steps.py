"""The steps of a job's flow. Each may run again after any interruption, and takes plain values only."""

import asyncio
import logging
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import TypedDict

from flows import archives
from flows.destinations.filesystem import Addressed, Addresses
from flows.destinations.scheduler import Submission
from flows.disk import attempts
from flows.disk.last_line import last_line
from flows.disk.places import STDERR, STDOUT
from flows.disk.trees import size_of
from flows.errors import (
    ArchiveRefused,
    CommandFailed,
    DestinationRefused,
    InternalError,
    InvalidUpload,
    JobFailure,
    StagingFailed,
    Unavailable,
)
from flows.jobs.job import Job, State
from flows.lifecycle.ending import leave_destination
from flows.lifecycle.picking import has_failover, moved_where_needed, picked_for
from flows.lifecycle.runtime import Runtime, current
from flows.waiting.patience import Delays
from flows.waiting.threads import to_the_end
from flows.wrapper import verdicts

logger = logging.getLogger(__name__)

RESUBMISSION_DELAYS = Delays(1.0, longest=60.0)
"""A destination may lose whatever it takes: its disk reads wrongly, say."""


class Outcome(TypedDict):
    """How the command ended. ``failure`` and ``kind`` are those of a JobFailure, or None."""

    returncode: int | None
    failure: str | None
    kind: str | None


async def upload(job_id: int) -> None:
    """Unpack the visitor's archive into the job's directory."""
    runtime = current()
    job = await runtime.jobs.known(job_id)
    try:
        if await asyncio.to_thread(_is_to_be_unpacked, runtime, job):
            await _unpack(runtime, job)
    except InvalidUpload as error:
        raise ArchiveRefused(str(error)) from error
    except OSError as error:
        raise StagingFailed(
            f"The archive could not be unpacked ({error.strerror}); submit again later."
        ) from error


def _is_to_be_unpacked(runtime: Runtime, job: Job) -> bool:
    job_dir = runtime.place.job_dir(job.id)
    try:
        is_untouched = job_dir.stat().st_mtime_ns == _stamp(job)
    except FileNotFoundError:
        return True
    # With a destination, the command may have been handed over, and be at work there.
    if is_untouched or job.destination is not None:
        return False
    # Of another database's job of this id, perhaps: not ours to show or to destroy.
    aside = runtime.place.aside(job.id)
    logger.warning("%s was there already and is now %s", job_dir, aside)
    job_dir.rename(aside)
    return True


async def _unpack(runtime: Runtime, job: Job) -> None:
    # Under another name first, so that the job's directory is there as a whole or not at all.
    drafts = runtime.place.hidden_dir(job.id, str(job.token))
    draft = await asyncio.to_thread(attempts.begin, drafts)
    upload, limits, stop = runtime.place.upload(str(job.token)), runtime.config.uploads, threading.Event()
    await to_the_end(lambda: archives.unpack(upload, draft, limits, stop), stop=stop.set)
    await runtime.disk.sync()
    await runtime.jobs.owned(job.id)  # that may have taken long: by now the job may be another worker's
    await asyncio.to_thread(_put_in_place, draft, runtime.place.job_dir(job.id), job)


def _put_in_place(draft: Path, job_dir: Path, job: Job) -> None:
    os.utime(draft, ns=(_stamp(job), _stamp(job)))
    draft.rename(job_dir)
    with suppress(OSError):  # another worker's may be there
        draft.parent.rmdir()


def _stamp(job: Job) -> int:
    """Return a time, in nanoseconds, that tells that a directory is this job's and nobody has been in it."""
    # Whole microseconds: not every file system keeps more.
    return int(job.created_on.timestamp()) * 10**9 + job.token.int % 10**6 * 1000


async def pick_destination(job_id: int) -> str:
    """Ask the configured picker, once: a job may have been submitted there already."""
    runtime = current()
    job = await runtime.jobs.known(job_id)
    if job.destination is not None:
        return job.destination
    try:
        name = await picked_for(job, runtime, runtime.config.destinations)
    except Unavailable:
        raise
    except Exception as error:  # whatever an operator's picker raises
        raise DestinationRefused(f"No destination could be picked ({error}); tell the operator.") from error
    if name not in runtime.config.destinations:
        raise DestinationRefused(f"The unknown destination {name!r} was picked; tell the operator.")
    if not await runtime.jobs.set_destination(job_id, name, failover=has_failover(runtime, name)):
        raise InternalError("The job ended before it had a destination.")
    return name


def _now_at(job: Job, picked: str) -> str:
    """Return where the job is: what was picked at first is kept as the result of that step."""
    return job.destination or picked


async def submit(job_id: int, destination: str) -> str:
    """Stage in, then hand the command to the scheduler: exactly once, by the job's token."""
    runtime = current()
    job = await runtime.jobs.known(job_id)
    if job.scheduler_id is not None:
        return job.scheduler_id
    if job.may_move:
        job = await moved_where_needed(job, runtime)
    scheduler_id = await _hand_over(runtime, job, _now_at(job, destination))
    await runtime.jobs.submitted(job_id, scheduler_id)
    return scheduler_id


async def _hand_over(runtime: Runtime, job: Job, destination: str) -> str:
    place = runtime.destinations[destination]
    directory = await place.filesystem.stage_in(runtime.place.job_dir(job.id), str(job.token))
    if not place.filesystem.files_are_here:
        await runtime.jobs.owned(job.id)  # that may have taken long: by now the job may be another worker's
    installation = await runtime.jobs.installation()
    addresses = None
    if isinstance(place.filesystem, Addressed):
        addresses = await place.filesystem.addresses(str(job.token))
    if job.may_move and not await runtime.jobs.stay(job.id, destination):
        raise Unavailable("The job was given another destination.")
    return await place.scheduler.submit(_submission(job, directory, str(installation), addresses))


def _submission(job: Job, directory: Path, installation: str, addresses: Addresses | None) -> Submission:
    return Submission(
        token=str(job.token),
        job_id=job.id,
        application=job.application,
        submitter=job.submitter,
        command=job.command,
        directory=directory,
        installation=installation,
        addresses=addresses,
    )


async def poll(job_id: int, destination: str, scheduler_id: str) -> Outcome:
    """Follow the command until there is proof of its end."""
    runtime = current()
    job = await runtime.jobs.known(job_id)
    destination = _now_at(job, destination)
    pauses = iter(RESUBMISSION_DELAYS)
    while (outcome := await _watch(runtime, job_id, destination, job.scheduler_id or scheduler_id)) is None:
        delay = next(pauses)
        text = f"{destination} lost the command before it began; it is submitted again in {delay:.1f} s."
        logger.warning("Job %s: %s", job_id, text)
        await runtime.jobs.explain(job_id, f"Waiting: {text}")
        await asyncio.sleep(delay)
        scheduler_id = await _hand_over(runtime, job, destination)
        await runtime.jobs.resubmitted(job_id, scheduler_id)
        job = await runtime.jobs.known(job_id)
    return outcome


async def _watch(runtime: Runtime, job_id: int, destination: str, scheduler_id: str) -> Outcome | None:
    """Return how the command ended, None when the scheduler lost it before it began."""
    async for status in runtime.destinations[destination].scheduler.watch(scheduler_id):
        if status.state == "lost":
            return None
        if status.state == "ended":
            failure = status.failure
            return Outcome(
                returncode=status.returncode,
                failure=None if failure is None else str(failure),
                kind=None if failure is None else failure.kind,
            )
        await runtime.jobs.advance(job_id, State(status.state), status.reason)
    raise RuntimeError(f"the scheduler of {destination} stopped watching {scheduler_id} before its end")


async def collect(job_id: int, destination: str, scheduler_id: str, outcome: Outcome) -> None:
    """Stage out, end the job, and clean the destination."""
    runtime = current()
    job = await runtime.jobs.known(job_id)
    place = runtime.destinations[_now_at(job, destination)]
    await runtime.jobs.advance(job_id, State.STAGING_OUT)
    try:
        await place.filesystem.stage_out(runtime.place.job_dir(job_id), str(job.token))
    except StagingFailed as error:
        if outcome["failure"] is None:
            raise
        # Whoever broke the command off may have had no outputs to bring: why that was is what counts.
        logger.warning("Job %s has no outputs: %s", job_id, error)
    await runtime.disk.sync()
    failure, size = await asyncio.to_thread(_result, outcome, runtime.place.job_dir(job_id))
    if failure is None:
        await runtime.jobs.complete(job_id, size=size)
    else:
        await runtime.jobs.fail(job_id, failure, size=size)
    await leave_destination(runtime, job)


def _result(outcome: Outcome, job_dir: Path) -> tuple[JobFailure | None, int]:
    return _failure(outcome, job_dir), size_of(job_dir)


def _failure(outcome: Outcome, job_dir: Path) -> JobFailure | None:
    if outcome["failure"] is not None:
        return JobFailure.of_kind(outcome["kind"], outcome["failure"])
    returncode = outcome["returncode"]
    verdict = verdicts.returncode(job_dir) if returncode is None else returncode
    if isinstance(verdict, JobFailure):
        return verdict
    if verdict == 0:
        return None
    ended = f"The command ended with exit code {verdict}"
    for name in (STDERR, STDOUT):
        if (said := last_line(job_dir / name)) is not None:
            return CommandFailed(f"{ended}; see {name}, which ends with: {said}")
    return CommandFailed(f"{ended}, and {STDOUT} and {STDERR} say nothing.")
