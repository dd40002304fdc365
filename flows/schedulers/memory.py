"""Scheduler ``memory``: a queue with slots on this machine, where submitters take turns."""

from pydantic import Field

from flows.destinations.surroundings import Surroundings
from flows.local.scheduling import LocalConfig, LocalScheduler


class Scheduler(LocalScheduler):
    """The name is the original's; the queue survives restarts all the same."""

    class Config(LocalConfig):
        """``slots`` commands run side by side."""

        slots: int = Field(default=1, ge=1)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        super().__init__(
            surroundings,
            slots=config.slots,
            environment=config.environment,
        )
