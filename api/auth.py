"""From the token of a request to the user it speaks for."""

from typing import Annotated

from fastapi import Depends, Request

from api.services import Services, get_services
from flows.errors import VisitorError
from flows.jobs.users import User

QUERY = "token"
COOKIE = "bartenderToken"


class TokenMissing(VisitorError):
    """The request came without a token."""


async def current_user(request: Request, services: Annotated[Services, Depends(get_services)]) -> User:
    """Return whom the request's token speaks for; raise TokenMissing, TokenInvalid or Unavailable."""
    token = _token(request)
    if not token:
        raise TokenMissing(
            f"A token is needed: send it as Authorization: Bearer, as ?{QUERY}= or as the cookie {COOKIE}."
        )
    return await services.verifier.verify(token)


CurrentUser = Annotated[User, Depends(current_user)]


def _token(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.query_params.get(QUERY) or request.cookies.get(COOKIE)
