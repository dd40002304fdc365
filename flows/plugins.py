"""Code that is not always there: the operator's own that the configuration file names, and extras."""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from flows.errors import ConfigurationError, one_line


def import_object(reference: str, directory: Path) -> Any:
    """Return what ``module:name`` or ``path/to/file.py:name``, relative to ``directory``, refers to.

    Raises ConfigurationError when it cannot be imported.
    """
    module_name, separator, name = reference.rpartition(":")
    if not separator:
        raise ConfigurationError(f"{reference!r} must be module:name or path/to/file.py:name")
    try:
        if module_name.endswith(".py"):
            module = _load_file(directory / module_name)
        else:
            module = importlib.import_module(module_name)
        return getattr(module, name)
    except Exception as error:  # whatever the operator's module raises while it is imported
        raise ConfigurationError(
            f"{reference!r} cannot be imported ({one_line(error)}); correct it"
        ) from error


def need_extra(module: str, extra: str) -> None:
    """Raise ConfigurationError where an optional package is not installed. It is not imported yet."""
    if importlib.util.find_spec(module) is None:
        raise ConfigurationError(
            f"a destination needs the package {module}, which is not installed: "
            f"pip install 'bartender[{extra}]'"
        )


def _load_file(path: Path) -> ModuleType:
    """Return the file's module, the same each time. Its name is the path, which no other module has."""
    name = str(path.resolve())
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
