"""Pickers choose the destination of a job.

A picker is a function ``(job_dir, application_name, submitter, context) -> destination name``; an operator
may bring one's own. It runs in a thread, so it may read files or ask another service.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flows.configuration.config import Application, Config, Destination
from flows.errors import ConfigurationError
from flows.jobs.users import User
from flows.plugins import import_object


@dataclass(frozen=True, kw_only=True, slots=True)
class Condition:
    """How a destination is doing, by the database and the workers' last look (every 30 s).

    ``queued`` are jobs that were picked for it and wait, ``running`` those that run there or come back from
    there, of this database's. ``reachable`` is None where no worker has looked yet.
    """

    queued: int = 0
    running: int = 0
    reachable: bool | None = None


@dataclass(frozen=True, slots=True)
class PickerContext:
    """What a picker may look at. ``conditions`` has each of the destinations, by its name."""

    applications: Mapping[str, Application]
    destinations: Mapping[str, Destination]
    job_root_dir: Path
    conditions: Mapping[str, Condition] = field(default_factory=dict)

    def condition(self, destination: str) -> Condition:
        """Return what is known of a destination, which may be nothing."""
        return self.conditions.get(destination, Condition())

    def answering(self) -> list[str]:
        """Return the destinations that answer, in their order; else those nobody knows of; else all."""
        for wanted in (True, None):
            names = [name for name in self.destinations if self.condition(name).reachable is wanted]
            if names:
                return names
        return list(self.destinations)


Picker = Callable[[Path, str, User, PickerContext], str]


def pick_first(job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
    """What is picked where no picker is configured; the other destinations get no jobs."""
    return next(iter(context.destinations))


def pick_byname(job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
    """Pick the destination that is named as the application; LookupError when there is none."""
    if application_name not in context.destinations:
        raise LookupError(f"no destination is named {application_name}")
    return application_name


def pick_byindex(job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
    """Pick the n-th destination for the n-th application; LookupError when there are fewer."""
    index = list(context.applications).index(application_name)
    return list(context.destinations)[index]


class _RoundRobin:
    def __init__(self) -> None:
        self._turn = 0
        self._lock = threading.Lock()

    def __call__(self, job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
        names = list(context.destinations)
        with self._lock:
            self._turn += 1
            return names[(self._turn - 1) % len(names)]


pick_round: Picker = _RoundRobin()
"""Pick each destination in turn."""


def pick_healthy(job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
    """Pick the first destination that answers; when none does, the first."""
    return context.answering()[0]


def pick_least_busy(job_dir: Path, application_name: str, submitter: User, context: PickerContext) -> str:
    """Pick, of the destinations that answer, the one where the fewest jobs wait; of these, the fewest run.

    Equal ones get jobs in the order of the configuration.
    """

    def load(name: str) -> tuple[int, int]:
        condition = context.condition(name)
        return condition.queued, condition.running

    return min(context.answering(), key=load)


def load(config: Config, source: Path) -> Picker:
    """Return the configured picker; ConfigurationError names ``source``, the configuration file."""
    reference = config.destination_picker
    module, _, name = reference.rpartition(":")
    if module == "bartender.picker":  # what the original called this module
        reference = f"{__name__}:{name}"
    try:
        picker = import_object(reference, source.parent)
    except ConfigurationError as error:
        raise ConfigurationError(f"{source}: destination_picker: {error}") from error
    if not callable(picker):
        raise ConfigurationError(f"{source}: destination_picker: {reference!r} is not a function; name one")
    return picker  # type: ignore[no-any-return]
