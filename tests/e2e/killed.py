"""A command of Bartender that is killed at a certain point: ``python -m tests.e2e.killed POINT COMMAND...``.

A point is ``module:Class.method`` or ``module:function``. The process gets SIGKILL as soon as that has done
its work while the file that KILLED_WHEN names is there.
"""

import functools
import importlib
import inspect
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from api.cli import main
from deployments.serving import asgi
from flows import filesystems, schedulers


def killing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return what does the same and then kills the process."""

    @functools.wraps(function)
    async def asynchronous(*args: Any, **kwargs: Any) -> Any:
        return kill(await function(*args, **kwargs))

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        return kill(function(*args, **kwargs))

    return asynchronous if inspect.iscoroutinefunction(function) else plain


def kill(result: Any) -> Any:
    # A look for work that found none is no point.
    if result not in ([], {}) and Path(os.environ["KILLED_WHEN"]).exists():
        os.kill(os.getpid(), signal.SIGKILL)
    return result


def install(point: str, trap: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put the point's trap into the code, wherever it was imported to."""
    module_name, _, name = point.partition(":")
    owner: Any = importlib.import_module(module_name)
    *classes, last = name.split(".")
    for part in classes:
        owner = getattr(owner, part)
    original = getattr(owner, last)
    trapped = trap(original)
    if classes:
        setattr(owner, last, trapped)
        return
    for module in list(sys.modules.values()):
        if getattr(module, last, None) is original:
            setattr(module, last, trapped)


def import_all() -> None:
    """Import all that a worker or the API has, so that nothing is imported later, untrapped."""
    for name in ("deployments.worker.worker", "api.app"):
        importlib.import_module(name)
    for package in (filesystems, schedulers):
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{package.__name__}.{module.name}")


if __name__ == "__main__":
    import_all()
    install(sys.argv.pop(1), killing)
    if sys.argv[1] == "asgi":
        asgi.main(sys.argv[2:])
    else:
        main()
