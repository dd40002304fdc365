"""Scheduler ``tes``: containers, by a server that speaks GA4GH's Task Execution Service."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import AfterValidator, ConfigDict, Field, JsonValue

from flows.destinations.http_api import HttpApi
from flows.destinations.scheduler import Submission
from flows.destinations.surroundings import Surroundings
from flows.tes import tasks
from flows.tes.scheduling import PollingKeys, TesScheduler, image_of
from flows.tes.server import Server

if TYPE_CHECKING:
    from blocks import TesCredentials


def _check_image(image: str) -> str:
    if "{" in image_of(image, "") or "}" in image_of(image, "") or not image.strip():
        raise ValueError("may have {{ application }} in it, and no other braces")
    return image


Image = Annotated[str, AfterValidator(_check_image)]


class Scheduler(TesScheduler):
    """Hands jobs over as tasks of one executor."""

    commands_are_here: ClassVar[bool] = False
    by_addresses: ClassVar[bool] = True

    class Config(PollingKeys):
        """Where the server is, and what each task gets. ``images`` are those of some applications.

        ``memory_gb`` and ``disk_gb`` are in GB as the specification has them; ``time_limit`` in seconds.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        block: str = Field(min_length=1, description="name of a tes-credentials block")
        image: Image
        images: dict[str, Image] = Field(default_factory=dict)
        cpus: int | None = Field(default=None, gt=0)
        memory_gb: float | None = Field(default=None, gt=0)
        disk_gb: float | None = Field(default=None, gt=0)
        preemptible: bool | None = None
        zones: list[str] | None = None
        backend_parameters: dict[str, JsonValue] | None = None
        time_limit: int | None = Field(default=None, gt=0)

        @property
        def resources(self) -> dict[str, Any]:
            """What is asked for, in the specification's words."""
            asked = {
                "cpu_cores": self.cpus,
                "ram_gb": self.memory_gb,
                "disk_gb": self.disk_gb,
                "preemptible": self.preemptible,
                "zones": self.zones,
                "backend_parameters": self.backend_parameters,
            }
            return {name: value for name, value in asked.items() if value is not None}

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        super().__init__(config, Server(HttpApi(_kind, config.block, "The TES server")), surroundings.turns)
        self._config = config

    def task(self, submission: Submission, variables: Mapping[str, str]) -> dict[str, Any]:
        image = self._config.images.get(submission.application, self._config.image)
        return tasks.task(
            submission,
            image=image_of(image, submission.application),
            resources=self._config.resources,
            limit=self._config.time_limit,
            variables=variables,
        )


def _kind() -> "type[TesCredentials]":
    from blocks import TesCredentials  # imports Prefect, which takes a second

    return TesCredentials
