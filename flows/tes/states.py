"""What a TES server's words say of a task, to us and to the visitor."""

from collections.abc import Mapping
from typing import Any

from flows.destinations.scheduler import Status
from flows.errors import DestinationFailed, JobCancelled, JobFailure
from flows.wrapper.script import BROKEN

WAITING = {
    "QUEUED": Status(state="queued"),
    "INITIALIZING": Status(state="queued", reason="The container is being prepared."),
    "RUNNING": Status(state="running"),
    "PAUSED": Status(state="running", reason="The task is paused."),
}
"""Any other that is no end, such as UNKNOWN or CANCELING, says nothing new."""

ENDED = frozenset({"COMPLETE", "EXECUTOR_ERROR", "SYSTEM_ERROR", "CANCELED", "PREEMPTED"})

_LONGEST = 300


def ended(task: Mapping[str, Any]) -> Status:
    """Return the last status of a task that has ended, by all that the server tells of it."""
    if task.get("state") == "COMPLETE":
        return Status(state="ended")  # the return code is among the outputs
    return Status(state="ended", failure=_failure(task))


def _failure(task: Mapping[str, Any]) -> JobFailure:
    match task.get("state"):
        case "CANCELED":
            return JobCancelled("The job was cancelled.")
        case "PREEMPTED":
            return DestinationFailed("The system stopped the job for others; submit it again.")
        case "EXECUTOR_ERROR":
            return DestinationFailed(_of_executor(_last(task)))
        case _:
            said = _last_line(" ".join(map(str, _last(task).get("system_logs") or [])))
            return DestinationFailed(f"The destination could not run the job{_said(said)}.")


def _of_executor(log: Mapping[str, Any]) -> str:
    executors = log.get("logs") or [{}]
    code, said = executors[-1].get("exit_code"), _last_line(str(executors[-1].get("stderr") or ""))
    if code == BROKEN and said.startswith("bartender: "):
        return f"The job could not be run in its container: {said.removeprefix('bartender: ').rstrip('.')}."
    if code == 137:
        return "The job's container was killed, perhaps as it needed more memory than it has."
    return f"The job's container ended too early, with exit code {code}{_said(said)}."


def _last(task: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the log of the last attempt."""
    logs = task.get("logs") or [{}]
    last = logs[-1]
    return last if isinstance(last, dict) else {}


def _last_line(text: str) -> str:
    lines = [" ".join(line.split()) for line in text.splitlines() if line.strip()]
    return lines[-1][:_LONGEST] if lines else ""


def _said(text: str) -> str:
    return f" ({text.rstrip('.')})" if text else ""
