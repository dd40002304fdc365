"""Files that a pilot fetches from the service, and brings back, by HTTP."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deployments.pilot.files import AlreadyBegun, JobOver, NotHere
from flows.disk import private_files
from flows.errors import StagingFailed, unavailable_for_now
from flows.pilots.orders import Order
from flows.staging import failures, listing
from flows.staging.listing import Listing
from flows.transfers import client
from flows.transfers.client import (
    Credential,
    GivenElsewhere,
    OutputsNotTaken,
    TransferEnded,
    TransferRefused,
)


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
        with _own_files():
            was_taken = False
            try:
                credential = await self._claim(order)
                was_taken = True
                inputs = await client.fetch_input(self._api_url, credential, files)
            except GivenElsewhere as error:
                raise AlreadyBegun(str(error)) from error
            except TransferEnded as error:
                raise JobOver(str(error)) from error
            except TransferRefused as error:
                raise NotHere(_refusal(error), was_taken=was_taken) from error
            await asyncio.to_thread(private_files.write_bytes, directory / "inputs", listing.write(inputs))
        return files

    async def send(self, order: Order, directory: Path) -> None:
        with _own_files():
            inputs = await asyncio.to_thread(_inputs, directory)
            try:
                credential = await self._claim(order)
            except TransferRefused as error:
                raise NotHere(_refusal(error)) from error
            try:
                await client.send_output(self._api_url, credential, directory / "files", inputs)
            except OutputsNotTaken as error:
                raise StagingFailed(str(error)) from error
            except TransferRefused as error:
                raise NotHere(_refusal(error)) from error

    async def _claim(self, order: Order) -> Credential:
        return await client.claim(self._api_url, self._pilot_key, order.token, self._claimant, order.turn)

    async def give_back(self, order: Order) -> None:
        key, url = self._pilot_key, self._api_url
        try:
            await client.release(url, key, order.token, self._claimant, order.turn)
        except (GivenElsewhere, TransferEnded):
            return  # there is nothing to give back
        except TransferRefused as error:
            raise NotHere(_refusal(error)) from error


def _inputs(directory: Path) -> Listing:
    content = (directory / "inputs").read_bytes()
    try:
        return listing.parse(content)
    except ValueError as error:
        raise StagingFailed("The job has overwritten what its pilot keeps of it.") from error


@contextmanager
def _own_files() -> Iterator[None]:
    """Tell what passes from what a command did to its directory, which none may wait for."""
    with unavailable_for_now("Files of the job cannot be moved at the pilot"):
        try:
            yield
        except OSError as error:
            raise failures.at_pilot(error) from error


def _refusal(error: TransferRefused) -> str:
    return f"the service refuses this pilot (status {error.status}): {error}"
