"""Schedulers: what runs a job's command at a destination.

A scheduler is one module here, named as its ``type`` in the configuration file, with two classes:
``Config``, the pydantic model of its keys, and ``Scheduler``, made by ``Scheduler(config, surroundings)``.
"""

import importlib
import pkgutil
from typing import Any

from pydantic import BaseModel

from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings


def names() -> list[str]:
    """Return the types that there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def configuration(kind: str) -> type[BaseModel]:
    """Return the model of a type's keys; ValueError for a type that there is not."""
    return _module(kind).Config  # type: ignore[no-any-return]


def create(config: BaseModel, surroundings: Surroundings) -> Scheduler:
    """Make the scheduler of this configuration."""
    return _module(config.type).Scheduler(config, surroundings)  # type: ignore[attr-defined,no-any-return]


def _module(kind: str) -> Any:
    if kind not in names():
        raise ValueError(f"has the unknown type {kind!r}: use one of {', '.join(names())}")
    return importlib.import_module(f"{__name__}.{kind}")
