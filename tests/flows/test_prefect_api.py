"""What errors of calls to Prefect say."""

import httpx
import pytest
import respx

from flows.errors import Refused, Unavailable
from flows.prefect_api import unavailable_when_prefect_is_away
from tests.e2e.service import free_port


async def call(url: str) -> None:
    with unavailable_when_prefect_is_away():
        async with httpx.AsyncClient() as client:
            (await client.get(url)).raise_for_status()


@respx.mock
async def answered(status: int) -> None:
    respx.get("http://prefect/").respond(status)
    await call("http://prefect/")


async def test_nobody_there() -> None:
    with pytest.raises(Unavailable, match="does not answer") as caught:
        await call(f"http://127.0.0.1:{free_port()}/")
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize("url", ["http://nobody.invalid/", "nobody:4200/api", "ftp://nobody/"])
async def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(Refused, match="PREFECT_API_URL"):
        await call(url)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
async def test_statuses_that_pass(status: int) -> None:
    with pytest.raises(Unavailable, match="answers with an error") as caught:
        await answered(status)
    assert not isinstance(caught.value, Refused)


@pytest.mark.parametrize("status", [401, 403])
async def test_statuses_of_who_is_not_let_in(status: int) -> None:
    with pytest.raises(Refused, match=f"AUTH_STRING is refused by the Prefect server .status {status}"):
        await answered(status)


@pytest.mark.parametrize("status", [404, 409, 422])
async def test_statuses_that_are_answers(status: int) -> None:
    with pytest.raises(httpx.HTTPStatusError):
        await answered(status)
