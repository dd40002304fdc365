"""Tasks are ended in one way: told, and waited for."""

import asyncio
from collections.abc import Sequence


async def cancel(tasks: Sequence[asyncio.Task[None]]) -> None:
    """End tasks and wait for that."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
