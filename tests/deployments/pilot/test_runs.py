"""What a pilot does when a run turns out to be somebody else's at the worst moment."""

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from deployments.pilot import runs as pilot_runs
from deployments.pilot.commands import PilotCommands
from deployments.pilot.ledger import Entry, Ledger
from deployments.pilot.runs import PilotRun
from flows.destinations.scheduler import Status
from flows.errors import DestinationFailed
from flows.pilots import words
from flows.pilots.orders import Order
from flows.pilots.rest import PrefectRest
from flows.pilots.submitting import Runs, Wanted
from flows.pilots.words import Claim
from tests.flows.pilots.test_words import ORDER
from tests.pilots import new_pool, prefect_rest

pytestmark = pytest.mark.usefixtures("prefect_server")


class Files:
    """The job's directory is there; ``when_fetched`` happens while the pilot gets it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.when_fetched: Callable[[], Awaitable[object]] | None = None

    async def fetch(self, order: Order, directory: Path) -> Path:
        if self.when_fetched is not None:
            await self.when_fetched()
        return self.directory

    async def send(self, order: Order, directory: Path) -> None: ...

    async def give_back(self, order: Order) -> None: ...


class Scene:
    """A run, and what a pilot needs for it."""

    def __init__(self, rest: PrefectRest, id_: str, order: Order, directory: Path) -> None:
        self.rest = rest
        self.id = id_
        self.claim = Claim("this", str(uuid.uuid4()))
        self.other = Claim("other", str(uuid.uuid4()))
        self.files = Files(Path(order.directory))
        self.ledger = Ledger(directory / "ledger")
        self.commands = PilotCommands(directory, "pool", rest)
        self.entry = Entry(id_, self.claim, order)
        self.ledger.keep(self.entry)
        self.run = PilotRun(
            self.entry,
            rest=rest,
            ledger=self.ledger,
            commands=self.commands,
            files=lambda filesystem: self.files,
            directory=directory / "job",
        )

    async def kinds(self) -> list[str]:
        return [state["type"] for state in await self.rest.states(self.id)]

    @property
    def has_run(self) -> bool:
        return (self.files.directory / "ledger").exists()


@pytest_asyncio.fixture
async def scene(prefect_server: None, tmp_path: Path) -> AsyncIterator[Scene]:
    directory = tmp_path / "jobs/7"
    directory.mkdir(parents=True)
    async with prefect_rest() as rest:
        runs = Runs(rest, new_pool())
        order = replace(ORDER, token=str(uuid.uuid4()), directory=str(directory), command="echo ran >>ledger")
        scene = Scene(rest, await runs.make(Wanted(order.token, order, "a run")), order, tmp_path / "pilot")
        yield scene
        await scene.commands.close()
        await runs.close()


async def test_a_run_of_its_own(scene: Scene) -> None:
    await scene.run.live()
    assert scene.has_run
    assert (await scene.kinds()) == ["SCHEDULED", "PENDING", "COMPLETED"]
    assert scene.ledger.entries() == []


async def test_a_run_that_another_has(scene: Scene) -> None:
    await scene.rest.set_state(scene.id, words.taken(scene.other))
    await scene.run.live()
    assert not scene.has_run
    assert await scene.kinds() == ["SCHEDULED", "PENDING"]
    assert scene.ledger.entries() == []


async def test_a_claim_after_the_end_leaves_the_end(scene: Scene) -> None:
    await scene.rest.set_state(scene.id, words.taken(scene.other))
    failure = DestinationFailed("It broke.")
    await scene.rest.set_state(scene.id, words.ended(scene.other, Status(state="ended", failure=failure)))
    await scene.run.live()
    assert not scene.has_run
    assert await scene.kinds() == ["SCHEDULED", "PENDING", "FAILED", "PENDING", "FAILED"]
    assert str(words.status_of(await scene.rest.run(scene.id)).failure) == "It broke."


async def test_a_pilot_that_was_frozen_asks_before_it_begins(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def give_to_another() -> None:
        monkeypatch.setattr(pilot_runs, "SURE_SECONDS", 0.0)  # so long it was frozen
        await scene.rest.set_state(scene.id, words.lost(scene.claim, "gone", is_run_again=True))
        await scene.rest.set_state(scene.id, words.to_be_taken("again"))
        assert (await scene.rest.set_state(scene.id, words.taken(scene.other)))[0]

    scene.files.when_fetched = give_to_another
    await scene.run.live()
    assert not scene.has_run
    assert words.claim_of((await scene.rest.run(scene.id))["state"]) == scene.other


async def test_a_run_that_is_cancelled_before_it_begins(scene: Scene) -> None:
    async def cancel() -> None:
        await scene.rest.set_state(scene.id, words.cancelling())
        await scene.run.end(pilot_runs._CANCELLED)

    scene.files.when_fetched = cancel
    await scene.run.live()
    assert not scene.has_run
    assert (await scene.kinds())[-1] == "CANCELLED"
