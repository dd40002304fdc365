from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from blocks import TesCredentials
from flows.destinations.scheduler import Scheduler
from flows.disk.places import Place
from tests.flows.s3.playing import use_block
from tests.flows.tes.jobs import Destination, opened
from tests.services.object_stores import SeaweedFs
from tests.services.tes import TesServer


class Saved:
    """The block, as it is saved at the moment."""

    def __init__(self, credentials: TesCredentials) -> None:
        self.credentials = credentials

    async def load(self, name: str) -> TesCredentials:
        return self.credentials


@pytest.fixture
def saved(tes_server: TesServer, monkeypatch: pytest.MonkeyPatch) -> Saved:
    saved = Saved(tes_server.credentials())
    monkeypatch.setattr(TesCredentials, "aload", saved.load)
    return saved


@pytest_asyncio.fixture
async def destination(
    saved: Saved, seaweedfs: SeaweedFs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Destination]:
    use_block(monkeypatch, seaweedfs)
    async for made in opened(Place(tmp_path / "data", tmp_path / "jobs")):
        yield made


@pytest_asyncio.fixture
async def scheduler(destination: Destination) -> AsyncIterator[Scheduler]:
    made = destination.scheduler()
    yield made
    await made.close()
