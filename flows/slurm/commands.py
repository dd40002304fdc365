"""Slurm as its commands: sbatch, squeue, sacct, scancel and sinfo."""

from collections.abc import Collection, Sequence

from flows.batch.conclusions import TO_BE_SUBMITTED_AGAIN
from flows.batch.references import job_name, job_names
from flows.batch.rows import Row
from flows.batch.script import Running
from flows.destinations.host import Completed
from flows.destinations.scheduler import Submission
from flows.errors import JobFailure, Unavailable
from flows.slurm import complaints, queries
from flows.slurm.options import SlurmOptions, arguments

RUNNING = Running("SLURM_JOB_ID", surroundings="unset SLURM_JWT\nexport SLURM_EXPORT_ENV=ALL\n")


class SlurmCommands:
    """They are ``flows.batch.by_commands.Commands``."""

    name = "Slurm"
    running = RUNNING
    vanished = TO_BE_SUBMITTED_AGAIN
    notes_suffice = False  # a lack of memory counts more than a return code

    def __init__(self, options: SlurmOptions) -> None:
        self._options = options
        self._cluster = options.cluster
        self.setup: Sequence[str] = options.setup
        self.shell = options.shell

    def submit(self, job: Submission) -> str:
        directory = str(job.directory)
        return "sbatch " + arguments(
            self._options, name=job_name(job), directory=directory, submitter=job.submitter
        )

    def find(self, job: Submission) -> str:
        return queries.find(job_names(job), self._cluster)

    def queue(self) -> str:
        return queries.squeue(self._cluster)

    def read_queue(self, stdout: str) -> list[Row]:
        return [*queries.queue(stdout)]

    def accounting(self, batch_ids: Sequence[str]) -> str:
        return queries.sacct(batch_ids, self._cluster)

    def read_accounting(self, stdout: str) -> list[Row]:
        return [*queries.accounted(stdout)]

    def keeps_no_records(self, stderr: str) -> bool:
        return complaints.accounting_is_off(stderr)

    def check(self) -> str:
        return queries.sinfo(self._cluster)

    def cancel(self, batch_ids: Collection[str]) -> str:
        return queries.cancel(batch_ids, self._cluster)

    def over_already(self, completed: Completed) -> bool:
        return complaints.of_ended_job(completed)

    def not_submitted(self, completed: Completed) -> JobFailure | Unavailable:
        return complaints.of_sbatch(completed)
