"""An identity provider on loopback: keys, the address that publishes them, tokens of all kinds."""

import asyncio
import base64
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fastapi import FastAPI, Response
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from api.app import create_app
from api.tokens.keys import PrivateKey, algorithm_of
from flows.jobs.outbox import Outbox
from tests.api.conftest import Wakings, serving
from tests.waiting import LONG_ENOUGH

WHOAMI = "/api/whoami"


def rsa_key(bits: int = 2048) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, bits)


def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def ed_key() -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def jwk(key: PrivateKey, kid: str | None = None, **more: Any) -> dict[str, Any]:
    public = key.public_key()
    match public:
        case rsa.RSAPublicKey():
            entry = RSAAlgorithm.to_jwk(public, as_dict=True)
        case ec.EllipticCurvePublicKey():
            entry = ECAlgorithm.to_jwk(public, as_dict=True)
        case _:
            entry = OKPAlgorithm.to_jwk(public, as_dict=True)
    entry.pop("key_ops", None)
    return {**entry, **({} if kid is None else {"kid": kid}), **more}


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    all_claims = {"sub": "alice", "iss": "provider", "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in all_claims.items() if value is not None}


def token(
    key: PrivateKey, kid: str | None = None, headers: dict[str, Any] | None = None, **changes: Any
) -> str:
    headers = {**({} if kid is None else {"kid": kid}), **(headers or {})}
    return jwt.encode(claims(**changes), key, algorithm=algorithm_of(key), headers=headers)


def signed(key: PrivateKey, header: bytes, payload: bytes) -> str:
    """Return a token of exactly these bytes."""
    algorithm = jwt.PyJWS().get_algorithm_by_name(algorithm_of(key) or "")
    signed_part = b".".join(map(unpadded, (header, payload)))
    return (signed_part + b"." + unpadded(algorithm.sign(signed_part, key))).decode()


def unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


class Provider:
    """Publishes ``entries``, or ``content``; counts how often it was asked."""

    def __init__(self) -> None:
        self.entries: list[Any] = []
        self.content: bytes | None = None
        self.status = 200
        self.delay = 0.0
        self.asked = 0
        self.headers: dict[str, str] = {}
        self.port = 0
        self.app = FastAPI()
        self.app.add_api_route("/keys", self._keys)
        self.app.add_api_route("/elsewhere", self._elsewhere)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/keys"

    async def _keys(self) -> Response:
        self.asked += 1
        await asyncio.sleep(self.delay)
        return Response(self._content(), self.status, self.headers, "application/json")

    async def _elsewhere(self) -> Response:
        return Response(self._content())

    def _content(self) -> bytes:
        return json.dumps({"keys": self.entries}).encode() if self.content is None else self.content

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        async with serving(self.app) as self.port:
            yield


@asynccontextmanager
async def _no_workers(_outbox: Outbox) -> AsyncIterator[Wakings]:
    yield Wakings()


class Service:
    """A Bartender of the test's own."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def ask(self, token: str) -> httpx.Response:
        return await self.client.get(WHOAMI, headers={"Authorization": f"Bearer {token}"})

    async def status(self, token: str) -> int:
        response = await self.ask(token)
        assert token not in response.text
        if response.status_code != 200:
            assert list(response.json()) == ["detail"]
        return response.status_code


@asynccontextmanager
async def service() -> AsyncIterator[Service]:
    async with (
        serving(create_app(open_workers=_no_workers)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=LONG_ENOUGH) as client,
    ):
        yield Service(client)
