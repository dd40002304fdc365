"""Scheduler ``arq``: what the scheduler ``pilot`` was called, and had for keys, before version 1.0."""

import logging
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from flows.destinations.surroundings import Surroundings
from flows.pilots.scheduling import PilotKeys, PilotScheduler
from flows.schedulers.pilot import seconds

logger = logging.getLogger(__name__)


class Scheduler(PilotScheduler):
    """The queue becomes a work pool of Prefect; Redis is not needed."""

    class Config(BaseModel):
        """``job_timeout`` is in seconds, or a duration of ISO 8601."""

        model_config = ConfigDict(extra="forbid", frozen=True)

        redis_dsn: str | None = None
        queue: str = Field(default="default", pattern=r"^[\w.: -]+$")
        max_jobs: int = Field(default=10, ge=1)
        job_timeout: float = Field(default=3600.0, gt=0)

        @field_validator("job_timeout", mode="before")
        @classmethod
        def _seconds(cls, value: Any) -> Any:
            return seconds(value)

        def pool(self, destination: str) -> str:
            """Return the name of the work pool, which has no colon."""
            return self.queue.replace(":", "-")

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        if config.redis_dsn is not None:
            logger.info(
                "destinations.%s: redis_dsn is not needed any more; remove it", surroundings.destination
            )
        keys = PilotKeys(
            work_pool=config.pool(surroundings.destination),
            max_jobs=config.max_jobs,
            job_timeout=config.job_timeout,
        )
        super().__init__(keys, surroundings)
