"""A place for commands, and what must not be mistaken for one of them."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from flows.disk.places import Place
from flows.local.environment import MARK
from flows.local.processes import end_session


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    place = Place(tmp_path / "data", tmp_path / "jobs")
    yield place
    for directory in place.commands.glob("*/*"):
        await end_session(None, f"{MARK}={directory.name}")


@pytest.fixture
def bystander() -> Iterator[subprocess.Popen[bytes]]:
    """Another command's process, which leads a session of its own."""
    environment = {**os.environ, MARK: "another"}
    with subprocess.Popen(["sleep", "1000"], env=environment, start_new_session=True) as process:
        yield process
        process.kill()
