"""Keys from an address: fetched, cached, rotated, and kept while the address is away."""

import asyncio
import json
import logging
import math
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from api.tokens import jwks
from api.tokens.jwks import KeySetUnusable, parse
from tests.api.tokens.provider import Provider, ec_key, ed_key, jwk, rsa_key, service, token
from tests.waiting import until

OLD, NEW = rsa_key(), rsa_key()


@pytest_asyncio.fixture
async def provider(environment: pytest.MonkeyPatch) -> AsyncIterator[Provider]:
    provider = Provider()
    provider.entries = [jwk(OLD, "old", alg="RS256", use="sig")]
    async with provider.serving():
        environment.setenv("BARTENDER_JWKS_URL", provider.url)
        environment.setenv("BARTENDER_PUBLIC_KEY", "is-not-there.pem")
        yield provider


async def test_keys_are_fetched_once(provider: Provider) -> None:
    async with service() as site:
        for _ in range(20):
            assert await site.status(token(OLD, "old")) == 200
    assert provider.asked == 1


async def test_token_without_kid(provider: Provider) -> None:
    """As the haddock3 web application makes them; its keys change as well."""
    provider.entries.insert(0, jwk(rsa_key(), "another"))
    async with service() as site:
        assert await site.status(token(OLD)) == 200
        provider.entries = [jwk(NEW)]
        assert await site.status(token(NEW)) == 200
        assert await site.status(token(OLD)) == 401


async def test_rotation(provider: Provider) -> None:
    async with service() as site:
        assert await site.status(token(NEW, "new")) == 401
        provider.entries.append(jwk(NEW, "new"))
        assert await site.status(token(NEW, "new")) == 200
        assert await site.status(token(OLD, "old")) == 200


async def test_withdrawn_key(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MAX_AGE", 0.1)
    async with service() as site:
        assert await site.status(token(OLD, "old")) == 200
        provider.entries = [jwk(NEW, "new")]
        asked = provider.asked
        await until(lambda: provider.asked > asked + 1)
        assert await site.status(token(OLD, "old")) == 401


async def test_invented_kids_do_not_flood_the_provider(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jwks, "_REFILL_SECONDS", math.inf)
    async with service() as site:
        statuses = [await site.status(token(NEW, f"invented{number}")) for number in range(50)]
        assert set(statuses) == {401}
        assert provider.asked <= 1 + jwks._BURST
        assert await site.status(token(OLD, "old")) == 200


async def test_budget_comes_back(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_REFILL_SECONDS", 0.2)
    async with service() as site:
        for number in range(20):
            await site.status(token(NEW, f"invented{number}"))
        provider.entries = [jwk(NEW, "new")]
        await asyncio.sleep(0.3)
        assert await site.status(token(NEW, "new")) == 200


async def test_one_fetch_for_all_who_wait(provider: Provider) -> None:
    provider.delay = 0.5
    async with service() as site:
        statuses = await asyncio.gather(*(site.status(token(OLD, "old")) for _ in range(20)))
    assert set(statuses) == {200}
    assert provider.asked == 1


@pytest.mark.parametrize("mishap", ["500", "no JSON", "no keys", "redirect", "huge"])
async def test_old_keys_stay(provider: Provider, mishap: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "MAX_AGE", 0.1)
    async with service() as site:
        assert await site.status(token(OLD, "old")) == 200
        match mishap:
            case "500":
                provider.status = 500
            case "no JSON":
                provider.content = b"<html>"
            case "no keys":
                provider.entries = []
            case "redirect":
                provider.status, provider.headers = 302, {"Location": "/elsewhere"}
                provider.entries = [jwk(NEW, "new")]
            case "huge":
                provider.entries = [jwk(NEW, "new", x=" " * jwks.MAX_SIZE)]
        asked = provider.asked
        await until(lambda: provider.asked > asked + 1)
        response = await site.ask(token(NEW, "new"))
        assert response.status_code == 503
        assert response.headers["Retry-After"]
        assert await site.status(token(OLD, "old")) == 200


async def test_address_that_is_away_at_the_start(
    environment: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    environment.setenv("BARTENDER_JWKS_URL", f"http://127.0.0.1:{port}/keys")
    good = token(OLD, "old")
    with caplog.at_level(logging.DEBUG):
        async with service() as site:
            for _ in range(10):
                response = await site.ask(good)
                assert response.status_code == 503
                assert response.headers["Retry-After"]
                assert response.json()["detail"].startswith("The key of this token cannot be fetched now")
            # A token that no key could make good is refused all the same.
            assert await site.status("rubbish") == 401
    assert "BARTENDER_JWKS_URL cannot be fetched" in caplog.text
    assert good not in caplog.text


async def test_address_that_comes_back(provider: Provider) -> None:
    provider.status = 503
    async with service() as site:
        assert await site.status(token(OLD, "old")) == 503
        provider.status = 200
        await until(lambda: provider.asked > 1)
        assert await site.status(token(OLD, "old")) == 200


async def test_address_that_hangs(provider: Provider, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "_SECONDS", 0.3)
    provider.delay = 2
    async with service() as site:
        assert await site.status(token(OLD, "old")) == 503


async def test_headers_of_a_token_are_not_followed(provider: Provider) -> None:
    """Whoever signs with a key of their own, and says where it is, is still nobody."""
    own = Provider()
    attacker = rsa_key()
    async with own.serving(), service() as site:
        own.entries = [jwk(attacker, "old")]
        forged: list[dict[str, Any]] = [
            {"jku": own.url},
            {"x5u": own.url},
            {"jwk": jwk(attacker)},
            {"jwk": jwk(attacker, "old"), "jku": own.url},
            {"x5c": ["MIIB"]},
            {"kid": "../../../../dev/null"},
            {"kid": own.url},
            {"kid": "' UNION SELECT 'key"},
            {"kid": "x" * 5000},
            {"kid": "\0"},
        ]
        for headers in forged:
            assert await site.status(token(attacker, headers={"kid": "old", **headers})) == 401
        assert own.asked == 0
        # The same headers around a good signature are not held against it.
        assert await site.status(token(OLD, "old", {"jku": own.url, "jwk": jwk(attacker)})) == 200


async def test_keys_of_several_kinds(provider: Provider, environment: pytest.MonkeyPatch) -> None:
    environment.setenv("BARTENDER_TOKEN_ALGORITHMS", "RS256, ES256,EdDSA")
    elliptic, edwards = ec_key(), ed_key()
    provider.entries += [jwk(elliptic, "ec"), jwk(edwards, "ed")]
    async with service() as site:
        for key, kid in ((OLD, "old"), (elliptic, "ec"), (edwards, "ed")):
            assert await site.status(token(key, kid)) == 200
            assert await site.status(token(key)) == 200
        # The name of a key of another kind.
        for key, kid in ((OLD, "ec"), (elliptic, "old"), (edwards, "ec"), (elliptic, "ed")):
            assert await site.status(token(key, kid)) == 401


async def test_only_configured_algorithms(provider: Provider) -> None:
    elliptic = ec_key()
    provider.entries.append(jwk(elliptic, "ec"))
    async with service() as site:
        assert await site.status(token(elliptic, "ec")) == 401


def test_which_keys_of_a_set_are_taken() -> None:
    good = jwk(OLD, "good")
    private = {**good, "d": "AQAB"}
    left_out: list[Any] = [
        private,
        jwk(OLD, use="enc"),
        jwk(OLD, alg="RS512"),
        jwk(OLD, key_ops=["encrypt"]),
        jwk(rsa_key(1024)),
        jwk(ec_key()),
        {"kty": "oct", "k": "c2VjcmV0", "kid": "good"},
        {"kty": "RSA"},
        {"kty": ["RSA"]},
        {"kty": "RSA", "n": "AQAB", "e": "AA"},
        {**good, "n": 3},
        {**good, "kid": 3},
        {**good, "use": ["sig"]},
        {**good, "key_ops": 3},
        "text",
        None,
    ]
    [key] = parse(json.dumps({"keys": [*left_out, good]}).encode(), ["RS256"])
    assert (key.kid, key.algorithm) == ("good", "RS256")
    with pytest.raises(KeySetUnusable, match="no key for RS256"):
        parse(json.dumps({"keys": left_out}).encode(), ["RS256"])


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": {}}', b"\xff", b"[" * 100_000, b"null"])
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(KeySetUnusable, match="not a JSON Web Key Set"):
        parse(document, ["RS256"])
