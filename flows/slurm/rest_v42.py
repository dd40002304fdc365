"""slurmrestd's API v0.0.42, which Slurm 24.11 to 26.05 have in common.

States are lists, numbers are ``{set, infinite, number}``: without ``set`` they are passed over in silence.
"""

from collections.abc import Collection, Mapping
from typing import Any

from flows.batch.references import installation_of, token_of
from flows.slurm import states
from flows.slurm.options import SlurmRequest
from flows.slurm.queries import Row
from flows.slurm.rest_messages import Answer, Complaint


class V42:
    """See ``rest_dialects.Dialect``."""

    version = "v0.0.42"
    of = "Slurm 24.11 and later"
    knows_states = True

    def asked(self, request: SlurmRequest) -> dict[str, Any]:
        return {
            "partition": request.partition,
            "time_limit": None if request.time is None else time_limit(request.time),
            "cpus_per_task": request.cpus,
            "memory_per_node": None if request.memory is None else _number(mebibytes(request.memory)),
            "tres_per_job": None if request.gpus is None else gpus(str(request.gpus)),
        }

    def environment(self, variables: Mapping[str, str]) -> Any:
        return [f"{name}={value}" for name, value in variables.items()]

    def queued(self, job: Mapping[str, Any]) -> Row:
        name, state, reason = job["name"], state_of(job["job_state"]), job["state_reason"] or ""
        return Row(str(job["job_id"]), token_of(name), state, reason, installation_of(name))

    def accounted(self, job: Mapping[str, Any]) -> Row:
        """Read it as the controller would say it."""
        state = state_of(job["state"]["current"])
        signal = job["exit_code"]["signal"]["id"]
        reason = f"RaisedSignal:{signal['number']}" if state == "FAILED" and signal["set"] else ""
        return Row(str(job["job_id"]), token_of(job["name"]), state, reason)

    def steps(self, slurm_ids: Collection[str]) -> list[tuple[str, str]]:
        return [("step", slurm_id) for slurm_id in slurm_ids]

    def of_cancelling(self, answer: Answer) -> list[Complaint]:
        """It answers with HTTP 200 and no errors, whatever became of it."""
        errors = [entry.get("error") or {} for entry in answer.body.get("status") or []]
        said = [Complaint(error["code"], str(error.get("string"))) for error in errors if error.get("code")]
        return answer.complaints + said


def state_of(words: Collection[str]) -> str:
    """Return the one word that counts, as squeue would say it.

    The first one is where the job stands, the others what happens to it: ``CANCELLED, COMPLETING`` has not
    ended yet.
    """
    active = [word for word in words if word in states.ACTIVE]
    ended = [word for word in words if word in states.ENDED]
    return next(iter([*active[-1:], *ended, *words]), "")


def time_limit(text: str) -> dict[str, Any]:
    """Return a time that is written as for sbatch, for which 0 is no limit, in minutes."""
    minutes = minutes_of(text)
    return _number(minutes) if minutes else {"set": False, "infinite": True, "number": 0}


def minutes_of(text: str) -> int:
    """Read it as sbatch does; seconds that are over count as a minute."""
    days, separator, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if separator:  # of hours
        parts = [*parts, 0, 0][:3]
    elif len(parts) < 3:  # of minutes
        parts = [0, *parts, 0][:3]
    hours, minutes, seconds = parts
    return (int(days or 0) * 24 + hours) * 60 + minutes + (seconds + 59) // 60


def mebibytes(text: str) -> int:
    """Read a memory that is written as for sbatch; what is over counts as one."""
    number, unit = int(text.rstrip("KMGT")), text[-1]
    if unit == "K":
        return (number + 1023) // 1024
    return number * {"G": 1024, "T": 1024**2}.get(unit, 1)


def gpus(text: str) -> str:
    """Return GPUs that are written as for sbatch, such as ``2`` or ``a100:2``, as a generic resource."""
    return ",".join(f"gres/gpu:{kind}" for kind in text.split(","))


def _number(number: int) -> dict[str, Any]:
    return {"set": True, "infinite": False, "number": number}
