"""Scheduler ``pilot``: pilots run the commands, wherever these can reach the Prefect server."""

from datetime import timedelta
from typing import Any

from pydantic import TypeAdapter, field_validator

from flows.destinations.surroundings import Surroundings
from flows.pilots.scheduling import PilotKeys, PilotScheduler

_DURATION: TypeAdapter[timedelta] = TypeAdapter(timedelta)


class Scheduler(PilotScheduler):
    """Makes a run in a work pool of Prefect for each command."""

    class Config(PilotKeys):
        """``job_timeout`` is in seconds, or a duration of ISO 8601 such as PT1H30M."""

        @field_validator("job_timeout", mode="before")
        @classmethod
        def _seconds(cls, value: Any) -> Any:
            return seconds(value)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        super().__init__(config, surroundings)


def seconds(value: Any) -> Any:
    """Return the seconds of a duration of ISO 8601; anything else as it is. ValueError for other texts."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return _DURATION.validate_python(value).total_seconds()
