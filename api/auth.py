"""From the token of a request to the user it speaks for."""

from typing import Annotated

from fastapi import Depends, Request

from api.http.origins import is_trusted
from api.services import Services, get_services
from flows.errors import VisitorError
from flows.jobs.users import User

QUERY = "token"
COOKIE = "bartenderToken"

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class TokenMissing(VisitorError):
    """The request came without a token."""


class ForeignPage(VisitorError):
    """A page that is not ours wants to change something in the name of whoever looks at it."""


async def current_user(request: Request, services: Annotated[Services, Depends(get_services)]) -> User:
    """Return whom the request's token speaks for.

    Raises TokenMissing, TokenInvalid, ForeignPage or Unavailable.
    """
    token = _token(request)
    if not token:
        raise TokenMissing(
            f"A token is needed: send it as Authorization: Bearer, as ?{QUERY}= or as the cookie {COOKIE}."
        )
    if request.method not in _SAFE and comes_by_cookie(request) and not _is_ours(request, services):
        raise ForeignPage(
            "With the cookie alone, only a page of this service changes something; "
            "send the token as Authorization: Bearer."
        )
    return await services.verifier.verify(token)


def _is_ours(request: Request, services: Services) -> bool:
    # Origins that are named, with their scripts, act for visitors; "*" names none.
    return is_trusted(request, set(services.settings.origins) - {"*"})


CurrentUser = Annotated[User, Depends(current_user)]


def comes_by_cookie(request: Request) -> bool:
    """Whether the token is one that a browser sends by itself, whoever made it ask."""
    return _said(request) is None


def _token(request: Request) -> str | None:
    return _said(request) or request.cookies.get(COOKIE)


def _said(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.query_params.get(QUERY) or None
