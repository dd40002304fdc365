"""How a task is named: to the server, and in the job's row."""

from dataclasses import dataclass
from typing import Self

PREFIX = "bartender."


@dataclass(frozen=True, slots=True)
class Reference:
    """A task. Only the token is known of one whose submission was interrupted."""

    token: str
    task_id: str | None = None

    @classmethod
    def parse(cls, scheduler_id: str) -> Self:
        """Read what ``str`` made, or a token."""
        task_id, _, token = scheduler_id.rpartition(":")
        return cls(token, task_id or None)

    def __str__(self) -> str:
        return self.token if self.task_id is None else f"{self.task_id}:{self.token}"


def name(token: str, installation: str) -> str:
    """Return a task's name. Version 1.0 finds tasks by how their name begins, and by nothing else."""
    return f"{PREFIX}{token}.{installation}"


def parts(task_name: str) -> tuple[str, str] | None:
    """Return token and installation of a task's name; None of one that is not ours."""
    token, separator, installation = task_name.removeprefix(PREFIX).partition(".")
    return (token, installation) if separator and task_name.startswith(PREFIX) else None
