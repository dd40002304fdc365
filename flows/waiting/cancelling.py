"""Tasks are ended in one way: told, and waited for; and some know that it was meant for them."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


async def cancel(tasks: Iterable[asyncio.Task[Any] | None]) -> None:
    """End tasks and wait for that, also when cancelled meanwhile. How they ended is theirs to tell."""
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    await asyncio.gather(*ending, return_exceptions=True)


def cancel_soon(task: asyncio.Task[Any]) -> None:
    """Cancel a task once it has begun: one that is cancelled before its first step never runs."""
    asyncio.get_running_loop().call_soon(task.cancel)


@dataclass(slots=True)
class Ending:
    """How a block came to its end."""

    on_purpose: bool = False


@contextmanager
def ended_on_purpose(is_meant: Callable[[], bool]) -> Iterator[Ending]:
    """Let a cancellation of this task end no more than the block if ``is_meant()`` says that it was for that.

    It goes on if there is another one, such as that of a process that stops.
    """
    ending = Ending()
    try:
        yield ending
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or not is_meant() or task.uncancel():
            raise
        ending.on_purpose = True
