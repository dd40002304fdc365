"""What a pilot is to run: the parameters of a flow run. Operators read them in Prefect: nothing in them is
secret."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal, Self

from flows.destinations.scheduler import Submission

VERSION = 1
"""Of the parameters. A pilot takes no runs of a later one; the deployment says the latest."""

LARGEST = 500_000
"""Bytes of an order as JSON: Prefect takes a little more."""

FLOW = "run-command"
POOL_TYPE = "bartender-pilot"

OnLost = Literal["fail", "rerun"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Order:
    """``directory`` is where the job's files are, as the filesystem says that its type is ``filesystem``.

    ``time_limit`` is in seconds. ``environment`` is the name of a block, which the pilot reads. ``turn`` is
    how often the job was given anew, as when that of a lost pilot is run again.
    """

    token: str
    job_id: int
    application: str
    command: str
    directory: str
    destination: str
    filesystem: str
    time_limit: float | None = None
    environment: str | None = None
    on_lost: OnLost = "fail"
    installation: str = ""
    turn: int = 0
    version: int = VERSION

    @classmethod
    def read(cls, parameters: Any) -> Self:
        """Return the order that a run's parameters are; ValueError for anything else."""
        version = parameters.get("version") if isinstance(parameters, dict) else None
        if not isinstance(version, int):
            raise ValueError("it is no order of Bartender's")  # noqa: TRY004 - one error for all of them
        if version > VERSION:
            raise ValueError(
                f"it is of version {version}, and this pilot knows {VERSION}: update Bartender here"
            )
        try:
            return cls(**parameters)
        except TypeError as error:
            raise ValueError(f"it lacks what belongs there: {error}") from error

    def parameters(self) -> dict[str, Any]:
        """Return what ``read`` reads."""
        return asdict(self)

    @property
    def size(self) -> int:
        """Bytes as JSON."""
        return len(json.dumps(self.parameters()).encode())

    def again(self) -> Self:
        """Return the order of the next turn."""
        return replace(self, turn=self.turn + 1)

    def submission(self, claim: str, directory: Path) -> Submission:
        """Return what is to run in a directory of the pilot's machine.

        Its token is the claim: two pilots of one machine may have got the job, one after the other.
        """
        return Submission(
            token=claim,
            job_id=self.job_id,
            application=self.application,
            submitter="",
            command=self.command,
            directory=directory,
            installation=self.installation,
        )
