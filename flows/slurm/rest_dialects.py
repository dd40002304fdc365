"""The versions of slurmrestd's API that are understood, and which of them a server speaks."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from flows.errors import Unavailable
from flows.slurm.options import SlurmRequest
from flows.slurm.queries import Row
from flows.slurm.rest_messages import Answer, Complaint
from flows.slurm.rest_v38 import V38
from flows.slurm.rest_v42 import V42


class Dialect(Protocol):
    """What a version spells in its own way. ``of`` says whose it is, for people.

    ``knows_states``: some jobs can be asked for, instead of all that the cluster has.
    Who reads an answer may raise KeyError, TypeError and AttributeError.
    """

    version: str
    of: str
    knows_states: bool

    def asked(self, request: SlurmRequest) -> dict[str, Any]:
        """Return the properties of a job that ask for what the request does; None for what it does not."""
        ...

    def environment(self, variables: Mapping[str, str]) -> Any:
        """Return the variables that a job's script begins with."""
        ...

    def queued(self, job: Mapping[str, Any]) -> Row:
        """Read what the controller has of a job."""
        ...

    def accounted(self, job: Mapping[str, Any]) -> Row:
        """Read what accounting has of a job."""
        ...

    def steps(self, slurm_ids: Collection[str]) -> list[tuple[str, str]]:
        """Return the parameters that ask accounting for jobs: a job's id means all its steps."""
        ...

    def of_cancelling(self, answer: Answer) -> list[Complaint]:
        """Return why a job was not cancelled."""
        ...


DIALECTS: tuple[Dialect, ...] = (V42(), V38())
"""The best one first."""

VERSIONS = tuple(dialect.version for dialect in DIALECTS)


@dataclass(frozen=True, slots=True)
class Api:
    """How a server is spoken to. ``properties`` are those that a job can have, if that is known."""

    dialect: Dialect
    properties: frozenset[str]


def offered(openapi: Mapping[str, Any], pinned: str | None) -> Api:
    """Return the best version that a server's description of itself offers, or the pinned one.

    Raises Unavailable when it offers none that is understood: it may be another server tomorrow.
    """
    there = {path.split("/")[2] for path in openapi.get("paths", {}) if path.startswith("/slurm/")}
    wanted = [dialect for dialect in DIALECTS if pinned in {None, dialect.version}]
    for dialect in wanted:
        if dialect.version in there:
            schemas = openapi.get("components", {}).get("schemas", {})
            description = schemas.get(f"{dialect.version}_job_desc_msg", {})
            return Api(dialect, frozenset(description.get("properties", {})))
    raise Unavailable(
        f"slurmrestd offers {', '.join(sorted(there)) or 'no version of its API'}, "
        f"and only {' and '.join(f'{d.version} ({d.of})' for d in wanted)} can be used here: "
        "the scheduler slurm needs no slurmrestd."
    )
