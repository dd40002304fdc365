"""Whether a disk of this machine is there."""

import asyncio
import os
import tempfile
from pathlib import Path

from flows.errors import unavailable_for_now


async def check_writable(directory: Path) -> None:
    """Raise Unavailable when no file can be made in the directory, or else where it is to be made."""
    with unavailable_for_now(f"{directory} cannot be written to"):
        await asyncio.to_thread(_make_a_file, directory)


def _make_a_file(directory: Path) -> None:
    # A link that leads nowhere is a disk that is not there.
    there = directory if os.path.lexists(directory) else directory.parent
    with tempfile.TemporaryFile(dir=there):
        pass
