"""A worker in which each job stops at a point of its own: ``python -m tests.e2e.held COMMAND...``.

Points are those of ``tests.e2e.killed``. The file HELD/<job id> names the job's point. When that has done its
work for the job, HELD/<job id>.there is made and the job goes no further; so one SIGKILL hits each job at its
point.
"""

import asyncio
import functools
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from api.cli import main
from tests.e2e.killed import import_all, install


def holding(point: str) -> Callable[[Callable[..., Awaitable[Any]]], Callable[..., Awaitable[Any]]]:
    """Return what makes a trap of the point."""

    def trap(function: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        @functools.wraps(function)
        async def trapped(*args: Any, **kwargs: Any) -> Any:
            result = await function(*args, **kwargs)
            await hold(point)
            return result

        return trapped

    return trap


async def hold(point: str) -> None:
    task = asyncio.current_task()
    job_id = "" if task is None else task.get_name().removeprefix("flow run of job ")
    held = Path(os.environ["HELD"], job_id)
    if job_id.isdigit() and held.exists() and held.read_text() == point:
        held.with_name(f"{job_id}.there").touch()
        await asyncio.Event().wait()


if __name__ == "__main__":
    import_all()
    for point in {path.read_text() for path in Path(os.environ["HELD"]).iterdir()}:
        install(point, holding(point))
    main()
