"""Scheduler ``eager``: runs every command at once, for short ones."""

import math
import os

from pydantic import Field

from flows.destinations.surroundings import Surroundings
from flows.local.scheduling import LocalConfig, LocalScheduler


class Scheduler(LocalScheduler):
    """No slots: a command waits only while the machine is overloaded, and is ended when it takes too long."""

    class Config(LocalConfig):
        """``max_load`` is of the one-minute load average per CPU; ``timeout`` in seconds."""

        max_load: float = Field(default=1.0, gt=0)
        timeout: float = Field(default=300.0, gt=0)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        super().__init__(
            surroundings,
            slots=math.inf,
            time_limit=config.timeout,
            environment=config.environment,
        )
        self._max_load = config.max_load * (os.cpu_count() or 1)

    def waits_for(self) -> str | None:
        if os.getloadavg()[0] > self._max_load:
            return "Waiting until the machine is less busy."
        return None
