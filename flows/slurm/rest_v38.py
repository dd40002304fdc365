"""slurmrestd's API v0.0.38, of Slurm 22.05: values are written as for sbatch, read as squeue says them."""

from collections.abc import Collection, Mapping
from typing import Any

from flows.batch.references import installation_of, token_of
from flows.slurm.options import SlurmRequest
from flows.slurm.queries import Row
from flows.slurm.rest_messages import Answer, Complaint


class V38:
    """See ``rest_dialects.Dialect``."""

    version = "v0.0.38"
    of = "Slurm 22.05"
    knows_states = False

    def asked(self, request: SlurmRequest) -> dict[str, Any]:
        return {
            "partition": request.partition,
            "time_limit": request.time,
            "cpus_per_task": request.cpus,
            "memory_per_node": request.memory,
            "gpus": None if request.gpus is None else str(request.gpus),
        }

    def environment(self, variables: Mapping[str, str]) -> Any:
        return dict(variables)

    def queued(self, job: Mapping[str, Any]) -> Row:
        name, reason = job["name"], job["state_reason"] or ""
        return Row(str(job["job_id"]), token_of(name), job["job_state"], reason, installation_of(name))

    def accounted(self, job: Mapping[str, Any]) -> Row:
        """Read it as the controller would say it. Its exit codes can be wrong."""
        state = job["state"]["current"].split(" ")[0]
        signal = ((job.get("exit_code") or {}).get("signal") or {}).get("signal_id")
        reason = f"RaisedSignal:{signal}" if state == "FAILED" and signal else ""
        return Row(str(job["job_id"]), token_of(job["name"]), state, reason)

    def steps(self, slurm_ids: Collection[str]) -> list[tuple[str, str]]:
        return [("step", ",".join(slurm_ids))]

    def of_cancelling(self, answer: Answer) -> list[Complaint]:
        return answer.complaints
