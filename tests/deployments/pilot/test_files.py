from dataclasses import replace
from pathlib import Path

import pytest

from deployments.pilot.files import AlreadyBegun, NotHere, SharedDisk
from flows.destinations.filesystem import guard
from flows.pilots.orders import Order
from tests.flows.pilots.test_words import ORDER


@pytest.fixture
def order(tmp_path: Path) -> Order:
    directory = tmp_path / "jobs/7"
    directory.mkdir(parents=True)
    return replace(ORDER, directory=str(directory))


FIRST, SECOND = SharedDisk("first"), SharedDisk("second")


async def test_one_pilot_begins_a_turn(order: Order, tmp_path: Path) -> None:
    assert await FIRST.fetch(order, tmp_path) == Path(order.directory)
    with pytest.raises(AlreadyBegun):
        await SECOND.fetch(order, tmp_path)
    assert await FIRST.fetch(order, tmp_path) == Path(order.directory)  # after its restart


async def test_a_later_turn_is_anothers(order: Order, tmp_path: Path) -> None:
    await FIRST.fetch(order, tmp_path)
    await SECOND.fetch(order.again(), tmp_path)
    for earlier in (order, order.again()):
        with pytest.raises(AlreadyBegun):
            await FIRST.fetch(earlier, tmp_path)
    await SECOND.fetch(replace(order, turn=7), tmp_path)
    with pytest.raises(AlreadyBegun):
        await FIRST.fetch(replace(order, turn=5), tmp_path)


async def test_what_is_given_back_can_be_begun(order: Order, tmp_path: Path) -> None:
    await FIRST.fetch(order, tmp_path)
    await FIRST.give_back(order)
    await SECOND.fetch(order.again(), tmp_path)


async def test_a_job_that_has_ended_does_not_begin(order: Order, tmp_path: Path) -> None:
    Path(order.directory, "stdout.txt").touch()
    assert not guard(Path(order.directory), order.token).exists()  # removed at the end
    with pytest.raises(AlreadyBegun):
        await FIRST.fetch(order, tmp_path)


async def test_a_disk_that_is_not_shared(order: Order, tmp_path: Path) -> None:
    with pytest.raises(NotHere, match="is the disk shared"):
        await FIRST.fetch(replace(order, directory=str(tmp_path / "gone")), tmp_path)
