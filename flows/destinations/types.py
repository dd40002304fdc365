"""The types of schedulers and filesystems: those of this project, and those that a site adds.

A type is a class. The configuration file names it in one of three ways: by its module in ``flows.schedulers``
or ``flows.filesystems``; by an entry point of an installed package, in the group ``bartender.schedulers`` or
``bartender.filesystems``; or by where it is, ``module:Class`` or ``path/to/file.py:Class``.
"""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from pydantic import BaseModel

from flows.destinations.filesystem import Filesystem
from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.errors import ConfigurationError
from flows.plugins import import_object

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Configured(Generic[T]):
    """A scheduler or filesystem as the configuration file has it; ``type_name`` is its ``type`` there."""

    type_name: str
    implementation: type[T]
    config: BaseModel

    def make(self, surroundings: Surroundings) -> T:
        """Return the part itself, for this process."""
        return cast(Callable[[BaseModel, Surroundings], T], self.implementation)(self.config, surroundings)


class Types(Generic[T]):
    """All types that do what ``contract`` says. ``room`` is the package in ``flows`` where ours are."""

    def __init__(self, contract: type[Any], room: str) -> None:
        self._contract = contract
        self._room = room

    def configured(self, keys: object, directory: Path) -> Configured[T]:
        """Return the part of which these are the keys. ``directory`` is that of the configuration file.

        Raises ValueError for a type that cannot be used, and pydantic's ValidationError, which is one, for
        what its ``Config`` refuses.
        """
        if isinstance(keys, Configured):
            return keys
        if not isinstance(keys, dict) or not isinstance(name := keys.get("type"), str):
            raise ValueError("must have a type")  # noqa: TRY004 - pydantic collects ValueErrors only
        implementation = self._find(name, directory)
        rest = {key: value for key, value in keys.items() if key != "type"}
        return Configured(name, implementation, implementation.Config.model_validate(rest))

    def _find(self, name: str, directory: Path) -> Any:
        try:
            found = import_object(self._reference(name), directory)
        except ConfigurationError as error:
            raise ValueError(f"has the type {name!r}, which cannot be used: {error}") from error
        if lacking := ", ".join(self._lacking(found)):
            raise ValueError(
                f"has the type {name!r}, which lacks {lacking}: add what {self._contract.__module__} says"
            )
        return found

    def _reference(self, name: str) -> str:
        """Return where the type is, as ``module:Class`` or ``path/to/file.py:Class``."""
        if ":" in name:
            return name
        known = self._known()
        match [where for other, where in known if other == name]:
            case [where]:
                return where
            case []:
                names = ", ".join(sorted({other for other, _ in known}))
                raise ValueError(
                    f"has the unknown type {name!r}: use one of {names}, or for one of your own "
                    "module:Class or file.py:Class"
                )
            case several:
                raise ValueError(f"has the type {name!r}, which is {' and '.join(several)}: use one of these")

    def _known(self) -> list[tuple[str, str]]:
        """Return the types with a name, and where they are."""
        package = importlib.import_module(f"flows.{self._room}")
        ours = [
            (module.name, f"{package.__name__}.{module.name}:{self._contract.__name__}")
            for module in pkgutil.iter_modules(package.__path__)
        ]
        return ours + [
            (found.name, f"{found.module}:{found.attr}")
            for found in entry_points(group=f"bartender.{self._room}")
        ]

    def _lacking(self, found: Any) -> Iterator[str]:
        """Name what the contract asks for and what was found has not."""
        if not isinstance(found, type):
            yield "a class of that name"
            return
        for name, member in vars(self._contract).items():
            # What is inherited from the contract does nothing.
            if not name.startswith("_") and getattr(found, name, member) is member:
                yield f"{name}()"
        try:
            inspect.signature(found).bind("config", "surroundings")
        except (TypeError, ValueError):
            yield "__init__(self, config, surroundings)"
        for name in self._contract.__annotations__:
            if not isinstance(getattr(found, name, None), bool):
                yield f"{name} = True or False"
        config = getattr(found, "Config", None)
        if not (isinstance(config, type) and issubclass(config, BaseModel)):
            yield "Config, a pydantic model of its keys"


SCHEDULERS: Types[Scheduler] = Types(Scheduler, "schedulers")
FILESYSTEMS: Types[Filesystem] = Types(Filesystem, "filesystems")
