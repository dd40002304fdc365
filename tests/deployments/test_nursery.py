"""Children that are forked off one another: what they are given, how they begin, end and come again."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import until
from tests.waiting import LONG_ENOUGH

MODULE = "tests.deployments.nursling"
PROGRAM = f"""
import asyncio, os, sys
from pathlib import Path
from deployments.serving.nursery import Birth, Nursery, is_possible
from deployments.serving.processes import Child

here = Path(sys.argv[1])
held = os.open(here / "held", os.O_CREAT | os.O_RDWR)
passed = os.open(here / "passed", os.O_CREAT | os.O_RDWR)

def child(name):
    return Child(
        name,
        [sys.executable, "-m", "{MODULE}", name],
        environment={{"OURS": name, "PYTHONPATH": os.environ["PYTHONPATH"]}},
        pass_fds=[passed],
        log=here / name,
    )

async def main():
    assert is_possible()
    first, last, missing = child("first"), child("last"), child("missing")
    births = [Birth(first), Birth(last)]
    if sys.argv[2] == "broken":
        births = [Birth(first), Birth(missing, ["no.such.module"]), Birth(last)]
    nursery = Nursery(births)
    print("made", flush=True)
    sys.stdin.readline()
    nursery.go()
    try:
        for birth in births:
            await nursery.start(birth.child)
        await nursery.close()
        print("started", flush=True)
        await asyncio.to_thread(sys.stdin.readline)
    finally:
        for birth in births:
            await birth.child.stop()
        await nursery.close()

asyncio.run(main())
"""


class Parent:
    def __init__(self, directory: Path, checkout: Path, how: str) -> None:
        self._directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(directory), how],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout), "OF_THE_PARENT": "1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    async def says(self) -> str:
        assert self.process.stdout is not None
        return (await asyncio.to_thread(self.process.stdout.readline)).decode().strip()

    def let_go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()

    async def children(self) -> list[int]:
        """Wait until both are there, each in a session of its own."""
        pid = self.process.pid

        async def both() -> list[int]:
            known = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
            are_apart = len(known) == 2 and all(os.getsid(child) == child for child in known)
            return known if are_apart else []

        found: list[int] = await until(both)
        return found

    async def told_by(self, name: str, times: int = 1) -> list[dict[str, Any]]:
        """Wait until a child of this name has begun so often, and return what each wrote."""
        log = self._directory / name

        async def lines() -> list[str]:
            found = log.read_text().splitlines() if log.exists() else []
            return found if len(found) >= times else []

        return [json.loads(line) for line in await until(lines)]


@pytest.fixture
def parent(tmp_path: Path, checkout: Path, request: pytest.FixtureRequest) -> Any:
    parent = Parent(tmp_path, checkout, getattr(request, "param", "whole"))
    yield parent
    parent.process.kill()
    parent.process.wait()


def is_there(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


async def gone(*pids: int) -> None:
    async def look() -> bool:
        return not any(map(is_there, pids))

    await until(look)


async def test_they_are_like_programs_of_their_own(parent: Parent, tmp_path: Path) -> None:
    assert await parent.says() == "made"
    assert not (tmp_path / "first").exists() or not (tmp_path / "first").read_text()  # none has begun
    parent.let_go()
    for name in ("first", "last"):
        [told] = await parent.told_by(name)
        assert told["argument"] == name
        assert told["parent"] == parent.process.pid
        assert told["variables"] == {"OURS": name, "OF_THE_PARENT": None}
        assert told["forked"]
        assert told["name"].endswith(f"-m {MODULE} {name}")
        assert str(tmp_path / "passed") in told["held"]
        assert str(tmp_path / "held") not in told["held"]  # else it would outlive the parent
    assert await parent.says() == "started"


async def test_one_that_dies_comes_again_as_a_program(parent: Parent) -> None:
    parent.let_go()
    [before] = await parent.told_by("first")
    assert [await parent.says() for _ in range(2)][1] == "started"
    os.kill(before["pid"], signal.SIGKILL)
    _, after = await parent.told_by("first", times=2)
    assert not after["forked"]
    assert (after["argument"], after["variables"]) == (before["argument"], before["variables"])
    os.kill(after["pid"], signal.SIGKILL)  # and again
    await parent.told_by("first", times=3)


async def test_they_end_with_their_parent(parent: Parent) -> None:
    parent.let_go()
    pids = [(await parent.told_by(name))[0]["pid"] for name in ("first", "last")]
    parent.process.kill()
    await gone(*pids)


async def test_they_end_with_a_parent_that_has_not_let_them_begin(parent: Parent) -> None:
    await parent.says()
    pids = await parent.children()
    parent.process.kill()
    await gone(*pids)


@pytest.mark.parametrize("parent", ["broken"], indirect=True)
async def test_what_cannot_be_forked_is_started_as_a_program(parent: Parent) -> None:
    parent.let_go()
    assert (await parent.told_by("first"))[0]["forked"]
    assert not (await parent.told_by("missing"))[0]["forked"]
    assert not (await parent.told_by("last"))[0]["forked"]
    assert [await parent.says() for _ in range(2)] == ["made", "started"]
    parent.let_go()
    assert await asyncio.to_thread(parent.process.wait, LONG_ENOUGH) == 0


async def test_they_hear_nothing_of_a_ctrl_c(parent: Parent) -> None:
    assert await parent.says() == "made"
    assert await parent.children()
