"""From the token of a request to the user it speaks for."""

from collections.abc import Collection
from typing import Annotated, Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from fastapi import Depends, Request

from api.services import Services, get_services
from api.tokens import ALGORITHM
from flows.errors import VisitorError
from flows.users import User

QUERY = "token"
COOKIE = "bartenderToken"
_LEEWAY = 10.0  # seconds that the clock of who signs tokens may differ from ours
_MAX_LENGTH = 255


class TokenMissing(VisitorError):
    """The request came without a token."""


class TokenInvalid(VisitorError):
    """The token is bad, forged or expired; the text never holds the token."""


async def current_user(request: Request, services: Annotated[Services, Depends(get_services)]) -> User:
    """Return whom the request's token speaks for; raise TokenMissing or TokenInvalid."""
    token = _token(request)
    if not token:
        raise TokenMissing(
            f"A token is needed: send it as Authorization: Bearer, as ?{QUERY}= or as the cookie {COOKIE}."
        )
    return verify(token, services.public_key)


CurrentUser = Annotated[User, Depends(current_user)]


def verify(token: str, public_key: RSAPublicKey) -> User:
    """Raise TokenInvalid unless the token was signed by the owner of the key and holds now."""
    try:
        # The algorithm is ours, never the one that the token asks for. No audience is configured, so a
        # token for a certain one is as good as any other.
        claims = jwt.decode(
            token,
            public_key,
            algorithms=[ALGORITHM],
            leeway=_LEEWAY,
            options={"require": ["sub", "exp", "iss"], "verify_aud": False},
        )
    except jwt.ExpiredSignatureError as error:
        raise TokenInvalid("The token has expired; get a new one.") from error
    except jwt.MissingRequiredClaimError as error:
        raise TokenInvalid(f"The token has no claim {error.claim!r}.") from error
    except jwt.PyJWTError as error:
        raise TokenInvalid("The token is not valid.") from error
    return _user(claims)


def _token(request: Request) -> str | None:
    scheme, _, credentials = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and credentials.strip():
        return credentials.strip()
    return request.query_params.get(QUERY) or request.cookies.get(COOKIE)


def _user(claims: dict[str, Any]) -> User:
    username, roles = claims["sub"], claims.get("roles")
    if roles is None:
        roles = []
    if not _is_name(username):
        raise TokenInvalid("The token's claim 'sub' is not a user name.")
    if not isinstance(roles, list) or not all(_is_name(role) for role in roles):
        raise TokenInvalid("The token's claim 'roles' is not a list of names.")
    return User(username, _without_duplicates(roles))


def _is_name(value: object) -> bool:
    # Printable: NUL and lone surrogates, which JSON can carry, fit in no database.
    return isinstance(value, str) and 0 < len(value) <= _MAX_LENGTH and value.isprintable()


def _without_duplicates(roles: list[str]) -> Collection[str]:
    return tuple(dict.fromkeys(roles))
