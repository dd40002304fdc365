"""Scheduler ``slurmrestd``: a Slurm cluster by its REST API, where the jobs' files are on a shared disk."""

from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, JsonValue

from flows.batch.scheduling import BatchScheduler, SchedulingKeys
from flows.destinations.surroundings import Surroundings
from flows.slurm import rest_dialects, rest_messages
from flows.slurm.by_rest import RestCluster
from flows.slurm.options import SlurmRequest
from flows.slurm.rest_connection import RestConnection


def _check_properties(properties: dict[str, JsonValue]) -> dict[str, JsonValue]:
    if ours := sorted(rest_messages.OURS & properties.keys()):
        raise ValueError(f"has {', '.join(ours)}, which would keep jobs from being found again: remove that")
    for name, value in properties.items():
        if isinstance(value, dict) and "number" in value and value.get("set") is not True:
            # slurmrestd would ignore it without a word.
            raise ValueError(f"has {name} with a number that is not set: write {{set: true, number: ...}}")
    return properties


def _check_version(version: str) -> str:
    if version not in rest_dialects.VERSIONS:
        raise ValueError(f"is {version!r}: use {' or '.join(rest_dialects.VERSIONS)}, or leave it out")
    return version


class Scheduler(BatchScheduler):
    """Hands jobs to slurmrestd."""

    commands_are_here: ClassVar[bool] = False

    class Config(SlurmRequest, SchedulingKeys):
        """Where slurmrestd is, and the keys of each job."""

        block: str = Field(min_length=1, description="name of a slurm-rest-credentials block")
        api_version: Annotated[str, AfterValidator(_check_version)] | None = None
        extra_properties: Annotated[dict[str, JsonValue], AfterValidator(_check_properties)] = Field(
            default_factory=dict
        )

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        connection = RestConnection(config.block, config.api_version)
        super().__init__(config, RestCluster(config, config.extra_properties, connection), surroundings.turns)
