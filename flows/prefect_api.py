"""What becomes of calls to the Prefect server: which errors pass, and which an operator has to see to."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from flows.errors import Refused, Unavailable

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient

_AWAY = {408, 429, 500, 502, 503, 504}
"""Statuses of a server that starts, stops or has too much to do, and of a proxy in front of it."""

_NO_ENTRY = {401, 403}

_OF_ITS_DATABASE = {500, 503}


@contextmanager
def unavailable_when_prefect_is_away() -> Iterator[None]:
    """Turn whatever is not about the call itself into Unavailable, or Refused where an operator has to help.

    Other statuses, 404 and 409 among them, are answers: they are raised as they come.
    """
    try:
        yield
    except httpx.UnsupportedProtocol as error:
        raise Refused("PREFECT_API_URL is no address: it begins with http:// or https://.") from error
    except httpx.RequestError as error:
        if _is_unknown_name(error):
            raise Refused("PREFECT_API_URL names a host that nobody knows: correct it.") from error
        raise Unavailable("The Prefect server does not answer.") from error
    except httpx.HTTPStatusError as error:
        status = error.response.status_code
        if status in _AWAY:
            raise Unavailable("The Prefect server answers with an error.") from error
        if status in _NO_ENTRY:
            raise Refused(
                f"PREFECT_API_AUTH_STRING is refused by the Prefect server (status {status}): set it to "
                "PREFECT_SERVER_API_AUTH_STRING of that server."
            ) from error
        raise


async def never_takes(client: "httpx.AsyncClient | PrefectClient", error: httpx.HTTPStatusError) -> bool:
    """Whether the server is well, though it answers a call with an error: then that is about the call.

    Prefect says 503 of all errors of its database, also of those about what can never be stored. Those that
    pass are answered so too: ask again a few times before you give up.
    """
    if error.response.status_code not in _OF_ITS_DATABASE:
        return False
    try:
        # It asks the database, too.
        return (await client.request("GET", "/ready")).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


def _is_unknown_name(error: BaseException | None) -> bool:
    """Whether it is certain that a name has no address; it is not where no name server answers."""
    while error is not None:
        if isinstance(error, socket.gaierror):
            return error.errno == socket.EAI_NONAME
        error = error.__cause__ or error.__context__
    return False
