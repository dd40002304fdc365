"""Short commands of ours on this machine: who waits for one is never left waiting."""

import asyncio
import os
import signal
from pathlib import Path

import pytest

from flows.errors import Unavailable
from flows.local.host import ThisMachine
from tests.waiting import LONG_ENOUGH, until

READS = "cat >/dev/null; true"  # by a child of the shell's, which has its pipes


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_a_command_is_run() -> None:
    completed = await ThisMachine().run("cat; echo error >&2; exit 3", input=b"input")
    assert (completed.status, completed.stdout, completed.stderr) == (3, "input", "error\n")


async def test_a_cancellation_at_any_moment_ends_the_command() -> None:
    for steps in range(36):
        running = asyncio.create_task(ThisMachine().run(READS))
        for _ in range(steps % 6):
            await asyncio.sleep(0)
        running.cancel()
        done, _ = await asyncio.wait([running], timeout=LONG_ENOUGH)
        assert done, f"cancelled after {steps % 6} steps, it goes on"


async def test_a_time_out_in_the_middle_of_much_output() -> None:
    command = "head -c 50000000 /dev/zero; sleep 1000"
    for seconds in (0.01, 0.02, 0.03, 0.05):
        async with asyncio.timeout(LONG_ENOUGH):
            with pytest.raises(Unavailable, match="took longer than"):
                await ThisMachine().run(command, seconds=seconds)


async def test_what_a_command_left_running_keeps_nothing_of_ours_open(tmp_path: Path) -> None:
    """As a program does that goes on in the background and has its outputs yet."""
    before, left = _open_files(), tmp_path / "left"
    try:
        while not left.exists() or len(left.read_text().split()) < 3:
            with pytest.raises(Unavailable, match="took longer than"):
                await ThisMachine().run(f"sleep 1000 & echo $! >>{left}", seconds=0.2)
        await until(lambda: _open_files() < before + 3)
    finally:
        for pid in left.read_text().split():
            os.kill(int(pid), signal.SIGKILL)
