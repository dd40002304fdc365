"""What the server, which is this process, has open."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from tests.waiting import LONG_ENOUGH


def open_files(directory: Path) -> list[str]:
    """Return what is open in the directory."""
    targets = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            targets.append(str(link.readlink()))
    return [target for target in targets if target.startswith(str(directory))]


async def soon(condition: Callable[[], bool]) -> None:
    """Wait for something true: what the server does after its answer, for instance."""
    async with asyncio.timeout(LONG_ENOUGH):
        while not condition():
            await asyncio.sleep(0.02)
