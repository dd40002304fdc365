"""What the states of a run say, and how they are read. All of it is JSON of Prefect's REST API.

=========== ================================================================================
SCHEDULED   no pilot has it
PENDING     a pilot has taken it: ``data`` has its name and the claim
RUNNING     its command runs; the same ``data``
CANCELLING  somebody wants its end; the pilot sees to that
COMPLETED   the command ended: ``data`` has the exit code, whatever it is
FAILED      it was ended, or could not begin: ``data`` has the kind and the reason
CANCELLED   its end was wanted
CRASHED     its pilot is gone
=========== ================================================================================

A run leaves COMPLETED no more, since Prefect takes ``data`` for a result. It would leave FAILED and CRASHED
for PENDING, should a claim arrive that was given up long ago. Such a state has no scheduled time, which
Prefect gives to those alone that were SCHEDULED before.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.destinations.scheduler import Status
from flows.errors import DestinationFailed, JobCancelled, JobFailure

FINAL = frozenset({"COMPLETED", "FAILED", "CANCELLED", "CRASHED"})
UNDER_WAY = frozenset({"PENDING", "RUNNING", "CANCELLING", "PAUSED"})

_AGAIN = "again"
_BY_AN_OPERATOR = JobCancelled("The job was cancelled by an operator.")


@dataclass(frozen=True, slots=True)
class Claim:
    """``pilot`` is the name of the worker in Prefect; ``id`` is new for each taking of a run."""

    pilot: str
    id: str

    @property
    def data(self) -> dict[str, Any]:
        """What the states of the run carry."""
        return {"pilot": self.pilot, "claim": self.id}


def taken(claim: Claim) -> dict[str, Any]:
    """Return the state by which a pilot takes a run. Its name has to be Pending: then one pilot gets it."""
    details = {"transition_id": claim.id}
    return _state("PENDING", f"Taken by the pilot {claim.pilot}.", claim.data, state_details=details)


def begun(claim: Claim) -> dict[str, Any]:
    """Return the state of a run whose command runs."""
    return _state("RUNNING", f"The command runs at the pilot {claim.pilot}.", claim.data)


def ended(claim: Claim, status: Status) -> dict[str, Any]:
    """Return the state of a run whose command has ended."""
    failure = status.failure
    if failure is None:
        message = f"The command ended with exit code {status.returncode}."
        return _state("COMPLETED", message, {**claim.data, "returncode": status.returncode})
    kind = "CANCELLED" if isinstance(failure, JobCancelled) else "FAILED"
    data = {**claim.data, "returncode": status.returncode, "kind": failure.kind, "reason": str(failure)}
    return _state(kind, str(failure), data)


def lost(claim: Claim, reason: str, *, is_run_again: bool) -> dict[str, Any]:
    """Return the state of a run whose pilot is gone."""
    data = {**claim.data, "kind": DestinationFailed.kind, "reason": reason, _AGAIN: is_run_again}
    return _state("CRASHED", reason, data)


def is_to_be_run_again(state: Mapping[str, Any]) -> bool:
    """Whether a run's pilot is gone, and another one is to run the command."""
    data = state.get("data")
    return state.get("type") == "CRASHED" and isinstance(data, dict) and data.get(_AGAIN) is True


def to_be_taken(reason: str) -> dict[str, Any]:
    """Return the state of a run that is to be taken by any pilot."""
    return _state("SCHEDULED", reason)


def cancelling() -> dict[str, Any]:
    """Return the state of a run whose end is wanted."""
    return _state("CANCELLING", "The job was cancelled.")


def cancelled() -> dict[str, Any]:
    """Return the state of a run that never begins."""
    return _state("CANCELLED", "The job was cancelled.")


def _state(kind: str, message: str, data: Any = None, **more: Any) -> dict[str, Any]:
    return {"type": kind, "message": message, "data": data, **more}


def kind_of(run: Mapping[str, Any]) -> str:
    """Return the type of a run's state."""
    return str((run.get("state") or {}).get("type") or run.get("state_type"))


def claim_of(state: Mapping[str, Any] | None) -> Claim | None:
    """Return who has a run of that state; None where the state does not say."""
    data = (state or {}).get("data")
    if isinstance(data, dict) and isinstance(data.get("pilot"), str) and isinstance(data.get("claim"), str):
        return Claim(data["pilot"], data["claim"])
    return None


def is_of(claim: Claim, states: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a run that had these states, the last one now, is the claim's still."""
    if not states or states[-1]["type"] not in UNDER_WAY:
        return False
    last = next((found for state in reversed(states) if (found := claim_of(state)) is not None), None)
    return last == claim


def is_late_claim(state: Mapping[str, Any]) -> bool:
    """Whether a run was taken that was not Scheduled: by a request that was given up long before."""
    return state["type"] == "PENDING" and not (state.get("state_details") or {}).get("scheduled_time")


def status_of(run: Mapping[str, Any]) -> Status:
    """Return what a run says of its command."""
    match kind_of(run):
        case "SCHEDULED" | "PENDING":
            return Status(state="queued")
        case kind if kind not in FINAL:
            return Status(state="running")
    state = run.get("state") or {}
    if is_to_be_run_again(state):
        return Status(state="lost")
    said = state.get("data")
    data: Mapping[str, Any] = said if isinstance(said, dict) else {}
    code, reason = data.get("returncode"), data.get("reason")
    returncode = code if isinstance(code, int) else None
    if isinstance(reason, str):
        return Status(
            state="ended", returncode=returncode, failure=JobFailure.of_kind(data.get("kind"), reason)
        )
    if state.get("type") == "CANCELLED":
        return Status(state="ended", failure=_BY_AN_OPERATOR)
    if returncode is not None:
        return Status(state="ended", returncode=returncode)
    name = str(state.get("name") or state.get("type"))
    return Status(
        state="ended", failure=DestinationFailed(f"The run was set to {name} in Prefect before it had ended.")
    )
