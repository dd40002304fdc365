"""What makes a token good: its key, its algorithm and its claims."""

import base64
import json
import math
import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import jwt

from api.tokens.jwks import Jwks
from api.tokens.keys import KINDS, KeySource, PemKey, TokenKey, load_public_key
from api.tokens.known import Finding, KnownTokens
from deployments.settings import PREFIX, Settings
from flows.errors import ConfigurationError, VisitorError
from flows.jobs.users import User

MAX_TOKEN = 16 * 1024
_LEEWAY = 10.0  # seconds that the clock of who signs tokens may differ from ours
_MAX_LENGTH = 255
_CENTURY = 3.2e9  # seconds
_REQUIRED = ("sub", "exp", "iss")


class TokenInvalid(VisitorError):
    """The token is bad, forged or expired; the text never holds the token."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Rules:
    """What tokens have to be. Without issuers any is taken, without an audience too."""

    algorithms: tuple[str, ...] = ("RS256",)
    issuers: tuple[str, ...] = ()
    audience: str | None = None

    @classmethod
    def of(cls, settings: Settings) -> "Rules":
        """Raise ConfigurationError of one line."""
        algorithms = _listed("TOKEN_ALGORITHMS", settings.token_algorithms)
        if not algorithms or not set(algorithms) <= set(KINDS):
            raise ConfigurationError(
                f"environment: {PREFIX}TOKEN_ALGORITHMS is {settings.token_algorithms!r}: "
                f"name one or more of {', '.join(KINDS)}, with commas between them"
            )
        issuers = _listed("TOKEN_ISSUERS", settings.token_issuers)
        return cls(algorithms=algorithms, issuers=issuers, audience=settings.token_audience or None)


class Verifier:
    """Checks tokens by the rules and the keys."""

    def __init__(self, rules: Rules, keys: KeySource) -> None:
        self.keys = keys
        self._rules = rules
        self._known = KnownTokens()

    @classmethod
    def of(cls, settings: Settings) -> "Verifier":
        """Raise ConfigurationError of one line. An address of keys takes the place of the PEM file."""
        rules = Rules.of(settings)
        if settings.jwks_url:
            return cls(rules, Jwks(settings.jwks_url, rules.algorithms))
        return cls(rules, PemKey(load_public_key(settings.public_key, rules.algorithms)))

    async def verify(self, token: str) -> User:
        """Return whom the token speaks for.

        Raises TokenInvalid unless it was signed by the owner of a key and holds now, Unavailable when that
        key cannot be had now.
        """
        now = time.time()
        known = self._known.find(token, self.keys, now)
        if known is not None:
            return known
        algorithm, kid = self._header(token)
        keys = self.keys.find(algorithm, kid)
        signed = self._signed(token, keys)
        # A key that has no name in the token may be a new one too.
        if signed is None and not (keys and kid) and await self.keys.refresh():
            signed = self._signed(token, self.keys.find(algorithm, kid))
        if signed is None:
            raise TokenInvalid("The token is not valid.")
        key, claims = signed
        user = _user(claims)
        until = int(claims["exp"]) + int(_LEEWAY)  # it may be larger than any float
        self._known.remember(token, Finding(user=user, key=key, kid=kid, since=now, until=until))
        return user

    def _header(self, token: str) -> tuple[str, str | None]:
        """Return the algorithm and the name of the key. All else that a header can ask for is not done."""
        if len(token) > MAX_TOKEN:
            raise TokenInvalid(f"The token is too long: at most {MAX_TOKEN} characters are allowed.")
        header = _json_object(token.partition(".")[0])
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._rules.algorithms:
            raise TokenInvalid(f"The token is not signed with {' or '.join(self._rules.algorithms)}.")
        if "crit" in header or not isinstance(kid, str | None):
            raise TokenInvalid("The token is not valid.")
        return algorithm, kid

    def _signed(self, token: str, keys: Collection[TokenKey]) -> tuple[TokenKey, dict[str, Any]] | None:
        """Return the key and the claims, None when none of the keys has signed them; raise TokenInvalid."""
        for key in keys:
            try:
                claims = self._decode(token, key)
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError as error:
                raise TokenInvalid(_over(token)) from error
            except jwt.ImmatureSignatureError as error:
                raise TokenInvalid(_early(token)) from error
            except jwt.MissingRequiredClaimError as error:
                raise TokenInvalid(f"The token has no claim {error.claim!r}.") from error
            except jwt.InvalidIssuerError as error:
                raise TokenInvalid("The token's issuer ('iss') is not one that is trusted here.") from error
            except jwt.InvalidAudienceError as error:
                raise TokenInvalid("The token's audience ('aud') is not this service.") from error
            except (jwt.PyJWTError, RecursionError, ValueError, OverflowError) as error:
                raise TokenInvalid("The token is not valid.") from error
            # Two claims of one name: who signed may have read the one and we the other.
            _json_object(token.split(".")[1])
            return key, claims
        return None

    def _decode(self, token: str, key: TokenKey) -> dict[str, Any]:
        # The algorithm is the key's, never the one that the token asks for. Without a configured audience,
        # a token for a certain one is as good as any other.
        return jwt.decode(
            token,
            key.key,
            algorithms=[key.algorithm],
            leeway=_LEEWAY,
            issuer=list(self._rules.issuers) or None,
            audience=self._rules.audience,
            options={"require": list(_REQUIRED), "verify_aud": self._rules.audience is not None},
        )


def is_name(value: object) -> bool:
    """Whether a user or a role can be called so."""
    # Printable: NUL and lone surrogates, which JSON can carry, fit in no database.
    return isinstance(value, str) and 0 < len(value) <= _MAX_LENGTH and value.isprintable()


# Both are told only of tokens that one of our keys has signed.


def _over(token: str) -> str:
    ago = _lasting(time.time() - _seconds(_json_object(token.split(".")[1])["exp"]))
    return f"The token is over: it has expired {ago} ago by this server's clock; get a new one."


def _early(token: str) -> str:
    claims = _json_object(token.split(".")[1])
    now = time.time()
    issued, begin = (_seconds(claims.get(name)) for name in ("iat", "nbf"))
    ahead = max(issued, begin) - now
    if ahead > _CENTURY:
        return "The token is from the future: its times are to be in seconds, and may be in milliseconds."
    if "iat" in claims and issued <= now + _LEEWAY:
        return f"The token is not valid yet: its claim 'nbf' says in {_lasting(ahead)}."
    return (
        f"The token is from the future: its issuer's clock is {_lasting(ahead)} ahead of this server's; "
        "both have to be right."
    )


def _seconds(claim: Any) -> float:
    try:
        return float(claim)
    except OverflowError:
        return math.inf
    except (TypeError, ValueError):  # of the claim that is not to blame
        return 0.0


def _lasting(seconds: float) -> str:
    for unit, name in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 1.5 * unit:
            return f"{seconds / unit:.0f} {name}"
    return f"{max(seconds, 1):.0f} seconds"


def _listed(name: str, text: str) -> tuple[str, ...]:
    parts = tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if text and not parts:
        raise ConfigurationError(
            f"environment: {PREFIX}{name} is {text!r}: it names nothing; correct or unset it"
        )
    return parts


def _json_object(segment: str) -> dict[str, Any]:
    try:
        content = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
        value = json.loads(content, object_pairs_hook=_without_duplicates)
    except (ValueError, RecursionError) as error:
        raise TokenInvalid("The token is not valid.") from error
    if not isinstance(value, dict):
        raise TokenInvalid("The token is not valid.")
    return value


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        raise ValueError("two members have one name")
    return value


def _user(claims: dict[str, Any]) -> User:
    username, roles = claims["sub"], claims.get("roles")
    if roles is None:
        roles = []
    if not is_name(username):
        raise TokenInvalid("The token's claim 'sub' is not a user name.")
    if not isinstance(claims["iss"], str):
        raise TokenInvalid("The token's claim 'iss' is not a name.")
    if not isinstance(roles, list) or not all(is_name(role) for role in roles):
        raise TokenInvalid("The token's claim 'roles' is not a list of names.")
    return User(username, tuple(dict.fromkeys(roles)))
