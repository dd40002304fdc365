"""A cluster that is reached by Slurm's commands, on this machine or on another one."""

import logging
from collections.abc import Collection, Mapping
from dataclasses import replace

from flows.destinations.host import Completed, Host
from flows.destinations.scheduler import Submission
from flows.errors import Unavailable
from flows.slurm import complaints, queries, script
from flows.slurm.options import SlurmOptions, arguments
from flows.slurm.queries import Evidence, Row
from flows.slurm.references import Reference, job_name, job_names
from flows.slurm.script import Order
from flows.wrapper.command import payload

logger = logging.getLogger(__name__)

PATIENCE = 120.0
"""Seconds for a command of Slurm, which itself gives up after 10 to 20 s where nobody answers."""


class CommandCluster:
    """sbatch, squeue, sacct and scancel of a host, which sees the jobs' directories too."""

    def __init__(self, options: SlurmOptions, host: Host) -> None:
        self._options = options
        self._host = host

    async def submit(
        self, submission: Submission, reference: Reference, variables: Mapping[str, str]
    ) -> str | None:
        directory = str(submission.directory)
        order = script.submission(
            names=job_names(submission),
            guard=reference.guard,
            directory=directory,
            arguments=arguments(
                self._options,
                name=job_name(submission),
                directory=directory,
                submitter=submission.submitter,
            ),
            command=payload(self._options.setup, submission.command, variables),
            shell=self._options.shell,
            cluster=self._options.cluster,
        )
        completed = await self._run(order)
        if completed.status == script.INCOMPLETE:
            raise Unavailable(f"The job's command cannot be written down ({complaints.sentence(completed)}).")
        if completed.status != 0:
            raise complaints.of_sbatch(completed)
        try:
            return script.submitted(completed.stdout)
        except ValueError as error:
            raise Unavailable(
                f"What sbatch printed is not understood ({completed.stdout[-200:]!r})."
            ) from error

    async def queue(self, of: Collection[Reference] | None) -> list[Row]:
        return queries.queue((await self._asked(Order(queries.squeue(self._options.cluster), b""))).stdout)

    async def check(self) -> None:
        await self._asked(Order(queries.sinfo(self._options.cluster), b""))

    async def evidence(self, ended: Collection[Reference], unknown: Collection[Reference]) -> Evidence:
        completed = await self._asked(queries.evidence(ended, unknown, self._options.cluster))
        evidence = queries.read_evidence(ended, completed.stdout)
        if evidence.rows is None and complaints.accounting_is_off(completed.stderr):
            return replace(evidence, rows=[])
        return evidence

    async def mark_cancelled(self, reference: Reference) -> None:
        completed = await self._run(Order(queries.mark_cancelled(reference), b""))
        if completed.status != 0:
            logger.warning(
                "Job %s is cancelled without a note (%s)", reference, complaints.sentence(completed)
            )

    async def cancel(self, slurm_ids: Collection[str]) -> None:
        completed = await self._run(Order(queries.cancel(slurm_ids, self._options.cluster), b""))
        if completed.status != 0 and not complaints.of_ended_job(completed):
            raise complaints.no_answer(complaints.sentence(completed))

    async def close(self) -> None:
        """The host belongs to the connections."""

    async def _asked(self, question: Order) -> Completed:
        completed = await self._run(question)
        if completed.status != 0:
            raise complaints.no_answer(complaints.sentence(completed))
        return completed

    async def _run(self, order: Order) -> Completed:
        return await self._host.run(order.command, seconds=PATIENCE, input=order.input)
