"""Nothing that a process of the tests started outlives its last test: it would burn the machine for hours."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.services.processes import PROC, descendants, lives, pids, send, wait_until

MARK = "STARTED_BY_TESTS_OF"
"""A variable that what is started inherits, and what that starts."""

OF_PYTHON_ITSELF = "multiprocessing.resource_tracker"


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left() -> Iterator[None]:
    """Made before all other fixtures of the session, so that it looks after all of them have ended."""
    os.environ[MARK] = str(os.getpid())
    yield
    with suppress(TimeoutError):
        wait_until(lambda: not left(), "all processes that were started end", timeout=60)
    send(commands := left())
    servers = {pid: command for pid, command in commands.items() if sys.prefix in command}
    if servers:
        lines = "\n".join(f"{pid} {command}" for pid, command in servers.items())
        pytest.fail(f"Processes were left, and are killed now:\n{lines}", pytrace=False)
    if commands:  # those of jobs are made to outlive a server
        warnings.warn(f"Commands were left, and are killed now: {commands}", stacklevel=1)


def left() -> dict[int, str]:
    """Return the command lines of processes that this one started, by itself or not, and that still run."""
    found = descendants(os.getpid()) | {pid for pid in pids() if _is_marked(pid)}
    commands = {pid: _read(pid, "cmdline").replace("\0", " ").strip() for pid in found if lives(pid)}
    return {pid: command for pid, command in commands.items() if OF_PYTHON_ITSELF not in command}


def _is_marked(pid: int) -> bool:
    return f"\0{MARK}={os.getpid()}\0" in f"\0{_read(pid, 'environ')}"


def _read(pid: int, name: str) -> str:
    try:
        return (PROC / str(pid) / name).read_text(errors="replace")
    except OSError:  # it is gone, or another user's
        return ""
