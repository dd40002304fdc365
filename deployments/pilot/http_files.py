"""Files that a pilot fetches from the service, and brings back, by HTTP."""

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.pilot.files import AlreadyBegun, GivenAway, NotHere
from flows.disk import private_files
from flows.errors import StagingFailed, unavailable_for_now
from flows.pilots.orders import Order
from flows.staging import listing
from flows.transfers import client
from flows.transfers.client import Credential, TransferRefused

logger = logging.getLogger(__name__)

_NOT_TAKEN = {413, 422}


class HttpFiles:
    """``claimant`` tells this pilot from others; ``pilot_key`` is that of the destination.

    In a job's directory, ``files`` is where its command runs, and ``inputs`` says what was fetched.
    """

    def __init__(self, api_url: str, pilot_key: str, claimant: str) -> None:
        self._api_url = api_url
        self._pilot_key = pilot_key
        self._claimant = claimant

    async def fetch(self, order: Order, directory: Path) -> Path:
        files = directory / "files"
        with unavailable_for_now(f"The input cannot be kept in {directory}"):
            await asyncio.to_thread(private_files.make_directory, directory)
            with _refused():
                credential = await self._claim(order)
                inputs = await client.fetch_input(self._api_url, credential, files)
            await asyncio.to_thread(private_files.write_bytes, directory / "inputs", listing.write(inputs))
        return files

    async def send(self, order: Order, directory: Path) -> None:
        with unavailable_for_now(f"The outputs cannot be read in {directory}"):
            inputs = listing.parse(await asyncio.to_thread((directory / "inputs").read_bytes))
            with _refused():
                credential = await self._claim(order)
                await client.send_output(self._api_url, credential, directory / "files", inputs)

    async def _claim(self, order: Order) -> Credential:
        return await client.claim(self._api_url, self._pilot_key, order.token, self._claimant)

    async def give_back(self, order: Order) -> None:
        """Only what could not be claimed is given back."""


@contextmanager
def _refused() -> Iterator[None]:
    """Say what it means that the service does not give or take."""
    try:
        yield
    except TransferRefused as error:
        match error.status:
            case 409:
                raise AlreadyBegun(str(error)) from error
            case 410:
                raise GivenAway(str(error)) from error
            case status if status in _NOT_TAKEN:
                raise StagingFailed(str(error)) from error
            case status:
                raise NotHere(f"The service refuses this pilot (status {status}): {error}") from error
