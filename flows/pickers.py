"""Pickers choose the destination of a job.

A picker is a function ``(job_dir, application_name, submitter, context) -> destination name``; an operator
may bring one's own. It runs in a thread, so it may read files or ask another service.
"""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from flows.configuration.config import Application, Config, Destination
from flows.errors import ConfigurationError
from flows.jobs.users import User
from flows.plugins import import_object


@dataclass(frozen=True, slots=True)
class PickerContext:
    """What a picker may look at."""

    applications: Mapping[str, Application]
    destinations: Mapping[str, Destination]
    job_root_dir: Path


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
