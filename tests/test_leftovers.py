"""Processes that are left are found, wherever they hang."""

import os
import subprocess
from collections.abc import Iterator

import pytest

from tests.leftovers import left
from tests.services.processes import send
from tests.waiting import until


@pytest.fixture(autouse=True)
def end() -> Iterator[None]:
    before = set(left())
    yield
    send(set(left()) - before)


async def test_a_child_without_the_variable() -> None:
    with subprocess.Popen(["sleep", "1000"], env={"PATH": os.defpath}) as child:
        assert left()[child.pid] == "sleep 1000"
        child.kill()
    await until(lambda: child.pid not in left())


async def test_an_orphan_in_a_session_of_its_own() -> None:
    orphan = subprocess.run(
        ["sh", "-c", "setsid sleep 1000 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True, check=True
    )
    pid = int(orphan.stdout)
    await until(lambda: left().get(pid) == "sleep 1000")
