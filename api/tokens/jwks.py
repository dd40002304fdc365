"""The keys of an identity provider, from the address where it publishes them as a JSON Web Key Set."""

import asyncio
import json
import logging
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.tokens.keys import PublicKey, TokenKey, algorithm_of
from flows.errors import BartenderError, ConfigurationError, Unavailable
from flows.waiting.cancelling import cancel
from flows.waiting.patience import Delays

if TYPE_CHECKING:
    import httpx

logger = logging.getLogger(__name__)

MAX_AGE = 300.0
"""Seconds after which the keys are fetched again; a withdrawn key is taken for so long."""

MAX_KEYS = 50
MAX_SIZE = 256 * 1024  # bytes of the whole set
_SECONDS = 5.0  # for one fetch
_RETRY_DELAYS = Delays(1.0, longest=60.0)
# Fetches that unknown keys in tokens, which anybody can make up, may cause: at once, and in the long run.
_BURST = 5
_REFILL_SECONDS = 10.0
_PARSERS = {"RSA": RSAAlgorithm.from_jwk, "EC": ECAlgorithm.from_jwk, "OKP": OKPAlgorithm.from_jwk}


class KeySetUnusable(BartenderError):
    """What the address answered is no set of keys that we could use."""


class Jwks:
    """Keys that are fetched while ``running``, from this address only: never from one that a token names.

    While the address does not answer, the keys that came from it before go on being used.
    """

    def __init__(self, url: str, algorithms: Collection[str]) -> None:
        """Raise ConfigurationError for what is no address."""
        self._url = _checked(url)
        self._algorithms = algorithms
        self._keys: tuple[TokenKey, ...] = ()
        self._client: httpx.AsyncClient | None = None
        self._fetching: asyncio.Task[None] | None = None
        self._failed = False
        self._budget = _Budget()

    def running(self) -> AbstractAsyncContextManager[None]:
        return self._running()

    @asynccontextmanager
    async def _running(self) -> AsyncIterator[None]:
        # No redirects: an address that is not the configured one is not trusted.
        import httpx  # which few servers need, and imports much

        async with httpx.AsyncClient(timeout=_SECONDS, follow_redirects=False) as self._client:
            refreshing = asyncio.create_task(self._keep_fresh())
            try:
                yield
            finally:
                await cancel([refreshing, self._fetching])

    def find(self, algorithm: str, kid: str | None) -> Sequence[TokenKey]:
        fitting = [key for key in self._keys if key.algorithm == algorithm]
        return [key for key in fitting if kid is None or key.kid is None or key.kid == kid]

    async def refresh(self) -> bool:
        fetching = self._fetching
        if fetching is None:
            if self._budget.take():
                fetching = self._start_fetch()
            elif not self._failed:
                return False
        if fetching is not None:
            # Others wait for it too: a visitor who goes away must not end it.
            await asyncio.shield(fetching)
        if self._failed:
            raise Unavailable("The key of this token cannot be fetched now; try again later.")
        return True

    async def _keep_fresh(self) -> None:
        delays = iter(_RETRY_DELAYS)
        while True:
            await asyncio.shield(self._fetching or self._start_fetch())
            if self._failed:
                await asyncio.sleep(next(delays))
            else:
                delays = iter(_RETRY_DELAYS)
                await asyncio.sleep(MAX_AGE)

    def _start_fetch(self) -> asyncio.Task[None]:
        self._fetching = asyncio.create_task(self._fetch())
        return self._fetching

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(_SECONDS):
                self._keys = parse(await self._download(), self._algorithms)
        except Exception as error:  # whatever a strange answer makes the libraries raise
            log = logger.debug if self._failed else logger.warning
            log("The keys at BARTENDER_JWKS_URL cannot be fetched: %s", str(error) or type(error).__name__)
            self._failed = True
        else:
            if self._failed:
                logger.warning("The keys at BARTENDER_JWKS_URL can be fetched again")
            self._failed = False
        finally:
            self._fetching = None

    async def _download(self) -> bytes:
        assert self._client is not None  # noqa: S101 - only what runs fetches
        content = bytearray()
        async with self._client.stream("GET", self._url, headers={"Accept": "application/json"}) as response:
            if response.status_code != HTTPStatus.OK:
                raise KeySetUnusable(f"the answer has the status {response.status_code}")
            async for part in response.aiter_bytes():
                content += part
                if len(content) > MAX_SIZE:
                    raise KeySetUnusable(f"the answer has more than {MAX_SIZE} bytes")
        return bytes(content)


class _Budget:
    def __init__(self) -> None:
        self._left = float(_BURST)
        self._seen = time.monotonic()

    def take(self) -> bool:
        now = time.monotonic()
        self._left = min(_BURST, self._left + (now - self._seen) / _REFILL_SECONDS)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


def parse(document: bytes, algorithms: Collection[str]) -> tuple[TokenKey, ...]:
    """Return the keys for these algorithms that a key set has; others, and unknown ones, are left out.

    Raises KeySetUnusable when none is left.
    """
    try:
        entries = json.loads(document)["keys"]
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise KeySetUnusable("the answer is not a JSON Web Key Set") from error
    if not isinstance(entries, list):
        raise KeySetUnusable("the answer is not a JSON Web Key Set")
    keys = [key for entry in entries[:MAX_KEYS] if (key := _key(entry, algorithms)) is not None]
    if not keys:
        raise KeySetUnusable(f"the answer has no key for {' or '.join(algorithms)}")
    return tuple(keys)


def _key(entry: Any, algorithms: Collection[str]) -> TokenKey | None:
    # "d": a private key that somebody published is nobody's secret.
    if not isinstance(entry, dict) or "d" in entry or entry.get("use", "sig") != "sig":
        return None
    try:
        if "verify" not in entry.get("key_ops", ["verify"]):
            return None
        key = _PARSERS[entry["kty"]](entry)
    except (jwt.PyJWTError, UnsupportedAlgorithm, ValueError, TypeError, KeyError) as error:
        logger.debug("A key of the set cannot be read: %s", type(error).__name__)
        return None
    algorithm, kid = algorithm_of(key), entry.get("kid")
    if algorithm is None or algorithm not in algorithms or entry.get("alg", algorithm) != algorithm:
        return None
    if not isinstance(key, PublicKey) or not isinstance(kid, str | None):
        return None
    return TokenKey(algorithm, key, kid)


def _checked(url: str) -> str:
    import httpx

    mistake = ConfigurationError(
        "environment: BARTENDER_JWKS_URL is not an address of keys: write https://host/path, no password"
    )
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise mistake from error
    if parsed.scheme not in {"http", "https"} or not parsed.host or parsed.userinfo:
        raise mistake
    return url
