"""A batch system that is spoken to by commands, on this machine or on another one."""

import logging
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

from flows.batch import complaints, notes, script
from flows.batch.references import Reference
from flows.batch.rows import Evidence, Row
from flows.batch.script import Order, Running
from flows.destinations.host import Completed, Host
from flows.destinations.scheduler import Status, Submission
from flows.errors import JobFailure, Unavailable
from flows.wrapper.command import payload

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for a command of a batch system, which mostly gives up by itself where nobody answers."""

_SECTION = "--"


class Commands(Protocol):
    """What is asked of a batch system, as command lines of ``/bin/sh``, and how to read what they print.

    A question whose command fails was not answered.
    """

    name: str
    """For people."""

    running: Running

    vanished: Status
    """What became of a job that certainly never began, and that nobody there knows any more."""

    notes_suffice: bool
    """Whether accounting need not be asked for a job with a return code."""

    setup: Sequence[str]
    shell: str | None

    def submit(self, job: Submission) -> str:
        """Return the command that reads a script and prints the job's id.

        Raises JobFailure for a job that cannot be submitted.
        """
        ...

    def find(self, job: Submission) -> str:
        """Return lines as ``script.submission`` wants them."""
        ...

    def queue(self) -> str:
        """Ask for all jobs of the account: one question, whatever the number of ours."""
        ...

    def read_queue(self, stdout: str) -> list[Row]:
        """Raise Unavailable where that is no whole answer."""
        ...

    def accounting(self, batch_ids: Sequence[str]) -> str:
        """Ask for jobs that are in the queue no more."""
        ...

    def read_accounting(self, stdout: str) -> list[Row]: ...

    def keeps_no_records(self, stderr: str) -> bool:
        """Whether that is why accounting did not answer."""
        ...

    def check(self) -> str:
        """Ask something small that tells whether the batch system answers."""
        ...

    def cancel(self, batch_ids: Collection[str]) -> str: ...

    def over_already(self, completed: Completed) -> bool:
        """Whether ``cancel`` complained only of jobs that have ended meanwhile."""
        ...

    def not_submitted(self, completed: Completed) -> JobFailure | Unavailable:
        """Return the error of a submission that failed."""
        ...


class CommandCluster:
    """The commands of a host, which sees the jobs' directories too."""

    def __init__(self, commands: Commands, host: Host) -> None:
        self._commands = commands
        self._host = host

    @property
    def vanished(self) -> Status:
        return self._commands.vanished

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        completed = await self._run(order(self._commands, submission, reference, variables))
        if completed.status == script.INCOMPLETE:
            raise Unavailable(f"The job's command cannot be written down ({complaints.sentence(completed)}).")
        if completed.status != 0:
            raise self._commands.not_submitted(completed)
        try:
            return script.submitted(completed.stdout)
        except ValueError as error:
            raise Unavailable(
                f"What {self._commands.name} said of a submission is not understood "
                f"({completed.stdout[-200:]!r})."
            ) from error

    async def queue(self, of: Collection[Reference] | None) -> Sequence[Row]:
        return self._commands.read_queue((await self._asked(Order(self._commands.queue(), b""))).stdout)

    async def check(self) -> None:
        await self._asked(Order(self._commands.check(), b""))

    async def evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        if not self._commands.notes_suffice:
            return await self._evidence(ended, unknown)
        first = await self._evidence(ended, ())
        if not (rest := [job for job in unknown if first.notes[job].returncode is None]):
            return first
        second = await self._evidence(rest, rest)
        return Evidence({**first.notes, **second.notes}, second.rows)

    async def _evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        completed = await self._asked(evidence(self._commands, ended, unknown))
        found = read_evidence(self._commands, ended, completed.stdout)
        if found.rows is None and self._commands.keeps_no_records(completed.stderr):
            return replace(found, rows=[])
        return found

    async def mark_cancelled(self, reference: Reference) -> None:
        completed = await self._run(Order(notes.mark_cancelled(reference), b""))
        if completed.status != 0:
            logger.warning(
                "Job %s is cancelled without a note (%s)", reference, complaints.sentence(completed)
            )

    async def cancel(self, batch_ids: Collection[str]) -> None:
        completed = await self._run(Order(self._commands.cancel(batch_ids), b""))
        if completed.status != 0 and not self._commands.over_already(completed):
            raise self._no_answer(completed)

    async def close(self) -> None:
        """The host belongs to the connections."""

    async def _asked(self, question: Order) -> Completed:
        completed = await self._run(question)
        if completed.status != 0:
            raise self._no_answer(completed)
        return completed

    def _no_answer(self, completed: Completed) -> Unavailable:
        return complaints.no_answer(self._commands.name, complaints.sentence(completed))

    async def _run(self, order: Order) -> Completed:
        return await self._host.run(order.command, seconds=PATIENCE, input=order.input)


def order(commands: Commands, job: Submission, reference: Reference, variables: Mapping[str, str]) -> Order:
    """Make the order that submits a job once. Raises JobFailure for what cannot be submitted."""
    this, directory = uuid.uuid4().hex, str(job.directory)
    return script.submission(
        submit=commands.submit(job),
        find=commands.find(job),
        guard=reference.guard,
        directory=directory,
        submission=this,
        command=payload(commands.setup, job.command, variables),
        script=script.batch_script(
            commands.running,
            guard=reference.guard,
            directory=directory,
            submission=this,
            shell=commands.shell,
        ),
    )


def evidence(commands: Commands, ended: Collection[Reference], unknown: Collection[Reference]) -> Order:
    """Ask for the notes of jobs, and of accounting for those that the queue does not have."""
    command = notes.READ
    if ids := sorted({reference.batch_id for reference in unknown if reference.batch_id is not None}):
        command += f"\necho {_SECTION}\n{commands.accounting(ids)} && echo {_SECTION}"
    return Order(command + "\ntrue", notes.guards(ended))


def read_evidence(commands: Commands, ended: Collection[Reference], stdout: str) -> Evidence:
    """Read what the command of ``evidence`` printed. Raises ValueError when it is not whole."""
    lines = stdout.removesuffix("\n").split("\n")
    found = dict(zip(ended, map(notes.read, lines[: len(ended)]), strict=True))
    rest = lines[len(ended) :]
    if not rest:
        return Evidence(found, [])
    if rest[0] != _SECTION:
        raise ValueError(f"{rest[0]!r} is not what was asked for")
    if rest[-1] != _SECTION or len(rest) == 1:
        return Evidence(found, None)
    return Evidence(found, commands.read_accounting("\n".join(rest[1:-1])))
