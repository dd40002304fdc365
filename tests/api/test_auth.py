"""Tokens: where they are taken from, and that no forgery passes."""

import base64
import json
import logging
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac

from tests.api.conftest import Keys, Site

WHOAMI = "/api/whoami"


@dataclass(frozen=True)
class FromNow:
    """A moment so many seconds from when the test runs."""

    seconds: int

    def time(self) -> int:
        return int(time.time()) + self.seconds


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    all_claims = {"sub": "alice", "iss": "test", "iat": now, "exp": now + 600, **changes}
    return {name: value for name, value in all_claims.items() if value is not None}


def signed(keys: Keys, payload: dict[str, Any], algorithm: str = "RS256") -> str:
    return jwt.encode(payload, keys.private.read_bytes(), algorithm=algorithm)


def unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def hmac_with_public_key(keys: Keys, payload: dict[str, Any]) -> str:
    # By hand: PyJWT refuses to make this one.
    signed_part = b".".join(unpadded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, payload))
    mac = hmac.HMAC(keys.public.read_bytes(), hashes.SHA256())
    mac.update(signed_part)
    return (signed_part + b"." + unpadded(mac.finalize())).decode()


@pytest.mark.parametrize("place", ["header", "lower case", "query", "cookie"])
async def test_places(site: Site, place: str) -> None:
    token = site.keys.token("alice", "a", "b")
    options: dict[str, Any] = {
        "header": {"headers": {"Authorization": f"Bearer {token}"}},
        "lower case": {"headers": {"authorization": f"bearer {token}"}},
        "query": {"params": {"token": token}},
        "cookie": {"cookies": {"bartenderToken": token}},
    }[place]
    response = await (await site.anonymous(**options)).get(WHOAMI)
    assert response.status_code == 200
    assert response.json() == {"username": "alice", "roles": ["a", "b"]}


async def test_header_goes_first(site: Site) -> None:
    client = await site.client("alice")
    response = await client.get(WHOAMI, params={"token": site.keys.token("bob")})
    assert response.json()["username"] == "alice"


async def test_clients_claims(site: Site, keys: Keys) -> None:
    """The claims of the haddock3 web application; its clock is a little ahead."""
    token = signed(keys, claims(sub="42", email="a@b", iat=int(time.time()) + 5))
    response = await (await site.anonymous()).get(WHOAMI, params={"token": token})
    assert response.json() == {"username": "42", "roles": []}


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"headers": {"Authorization": "Basic YTpi"}},
        {"headers": {"Authorization": "Bearer"}},
        {"params": {"token": ""}},
    ],
)
async def test_no_token(site: Site, options: dict[str, Any]) -> None:
    response = await (await site.anonymous(**options)).get(WHOAMI)
    assert response.status_code == 403
    assert response.json()["detail"].startswith("A token is needed")


@pytest.mark.parametrize(
    "changes",
    [
        {"exp": FromNow(-60)},
        {"exp": None},
        {"exp": "soon"},
        {"exp": float("inf")},
        {"iss": None},
        {"sub": None},
        {"sub": ""},
        {"sub": 42},
        {"sub": "a\0b"},
        {"sub": "\ud800"},
        {"sub": "x" * 256},
        {"nbf": FromNow(600)},
        {"iat": FromNow(600)},
        {"roles": "admin"},
        {"roles": [1]},
        {"roles": {"admin": True}},
    ],
    ids=lambda changes: re.sub(r"\d{9,}", "time", str(changes)),
)
async def test_wrong_claims(site: Site, keys: Keys, changes: dict[str, Any]) -> None:
    # Now, and not when tests are collected: many minutes may lie between.
    now = {name: value.time() if isinstance(value, FromNow) else value for name, value in changes.items()}
    payload = claims(**now)
    # By way of PyJWS: the claims that PyJWT itself would not sign.
    token = jwt.PyJWS().encode(json.dumps(payload).encode(), keys.private.read_bytes(), "RS256")
    await assert_refused(site, token)


@pytest.mark.parametrize(
    "forgery", ["none", "None", "hmac", "other key", "RS512", "cut", "payload", "rubbish"]
)
async def test_forgeries(site: Site, keys: Keys, tmp_path: Path, forgery: str) -> None:
    head, payload, signature = signed(keys, claims()).split(".")
    match forgery:
        case "none":
            token = jwt.encode(claims(), "", algorithm="none")
        case "None":
            token = unpadded(b'{"alg":"nOnE"}').decode() + f".{payload}."
        case "hmac":
            token = hmac_with_public_key(keys, claims())
        case "other key":
            token = Keys(tmp_path).token()
        case "RS512":
            token = signed(keys, claims(), "RS512")
        case "cut":
            token = f"{head}.{payload}."
        case "payload":
            token = f"{head}.{unpadded(json.dumps(claims(sub='bob')).encode()).decode()}.{signature}"
        case _:
            token = "rubbish"
    await assert_refused(site, token)


async def assert_refused(site: Site, token: str) -> None:
    client = await site.anonymous()
    for options in ({"headers": {"Authorization": f"Bearer {token}"}}, {"params": {"token": token}}):
        response = await client.get(WHOAMI, **options)  # type: ignore[arg-type]
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"] == "Bearer"
        assert token not in response.text
        assert response.json()["detail"].startswith("The token")


@pytest.mark.parametrize(
    ("method", "route"),
    [
        ("GET", "/api/whoami"),
        ("GET", "/api/job/"),
        ("GET", "/api/job"),
        ("GET", "/api/job/1"),
        ("POST", "/api/job/1/name"),
        ("GET", "/api/job/1/stdout"),
        ("GET", "/api/job/1/stderr"),
        ("PUT", "/api/application/wc"),
        ("PUT", "/api/application/wc/job"),
    ],
)
async def test_every_route_wants_a_token(site: Site, method: str, route: str) -> None:
    client = await site.anonymous()
    assert (await client.request(method, route)).status_code == 403
    assert (await client.request(method, route, params={"token": "x"})).status_code == 401


@contextmanager
def logging_to(logger: logging.Logger, handler: logging.Handler) -> Iterator[None]:
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


@pytest.mark.parametrize("name", ["token", "%74oken", "to%6Ben"])
async def test_access_log_has_no_token(site: Site, caplog: pytest.LogCaptureFixture, name: str) -> None:
    token = site.keys.token()
    client: httpx.AsyncClient = await site.anonymous()
    logger = logging.getLogger("uvicorn.access")
    with caplog.at_level(logging.INFO, logger.name), logging_to(logger, caplog.handler):
        response = await client.get(f"/api/job?limit=1&{name}={token}&offset=0")
    assert response.status_code == 200
    records = [record.getMessage() for record in caplog.records if record.name == "uvicorn.access"]
    assert any(f"limit=1&{name}=…&offset=0" in record for record in records)
    assert not any(token in record for record in records)
