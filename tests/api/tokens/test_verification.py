"""Tokens against the rules: forgeries, issuers, audiences, kinds of keys, mistakes of the operator."""

import json
import logging
import re
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import hashes, hmac, serialization

from api.app import create_app
from api.tokens.keys import PrivateKey
from api.tokens.signing import generate_token
from flows.errors import ConfigurationError
from tests.api.conftest import Keys, Site
from tests.api.tokens.provider import (
    WHOAMI,
    claims,
    ec_key,
    ed_key,
    jwk,
    rsa_key,
    service,
    signed,
    token,
    unpadded,
)


def public_pem(key: PrivateKey) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def private_pem(key: PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@pytest.fixture
def own(keys: Keys) -> PrivateKey:
    key = serialization.load_pem_private_key(keys.private.read_bytes(), None)
    assert isinstance(key, PrivateKey)
    return key


async def refused(site: Site, forged: str, caplog: pytest.LogCaptureFixture) -> str:
    client = await site.anonymous()
    with caplog.at_level(logging.DEBUG):
        response = await client.get(WHOAMI, headers={"Authorization": f"Bearer {forged}"})
    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert forged not in response.text
    assert forged not in caplog.text
    assert list(response.json()) == ["detail"]
    detail: str = response.json()["detail"]
    return detail


HEADER = b'{"alg":"RS256"}'


def payload(**changes: Any) -> bytes:
    return json.dumps(claims(**changes)).encode()


async def test_exact_bytes_pass(site: Site, own: PrivateKey) -> None:
    """What the tests below change is what makes their tokens bad."""
    client = await site.anonymous()
    assert (await client.get(WHOAMI, params={"token": signed(own, HEADER, payload())})).status_code == 200


@pytest.mark.parametrize(
    "header",
    [
        b'{"alg":"none"}',
        b'{"alg":"HS256"}',
        b'{"alg":"RS384"}',
        b'{"alg":"PS256"}',
        b'{"alg":"ES256"}',
        b'{"alg":"rs256"}',
        b'{"alg":["RS256"]}',
        b'{"alg":{"RS256":1}}',
        b'{"alg":null}',
        b"{}",
        b'{"alg":"none","alg":"RS256"}',
        b'{"alg":"RS256","alg":"none"}',
        b'{"alg":"RS256","kid":"a","kid":"b"}',
        b'{"alg":"RS256","kid":7}',
        b'{"alg":"RS256","kid":["a"]}',
        b'{"alg":"RS256","crit":["b64"],"b64":false}',
        b'{"alg":"RS256","crit":["exp"],"exp":1}',
        b'{"alg":"RS256","crit":[]}',
        b'["alg","RS256"]',
        b'"RS256"',
        b"null",
        b"\xff",
        b"",
        b'{"alg":"RS256","x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"alg":"RS256","x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda header: header[:40].decode("latin1"),
)
async def test_headers(site: Site, own: PrivateKey, caplog: pytest.LogCaptureFixture, header: bytes) -> None:
    await refused(site, signed(own, header, payload()), caplog)


@pytest.mark.parametrize(
    "body",
    [
        payload()[:-1] + b',"sub":"bob"}',
        b'{"roles":["admin"],' + payload(roles=[])[1:],
        payload()[:-1] + b',"nested":{"a":1,"a":2}}',
        payload(exp=0),
        payload(exp=int(time.time()) - 11),
        payload(exp=[1]),
        payload(exp={}),
        payload(exp=True),
        payload(exp=float("nan")),
        payload(nbf=int(time.time()) + 3600),
        payload(nbf=[]),
        payload(iat="now"),
        payload(iat={}),
        payload(iss=["provider"]),
        payload(iss=5),
        b"[]",
        b"null",
        b"7",
        b"",
        b"\xff\xfe",
        payload()[:-1] + b',"x":' + b"[" * 5000 + b"]" * 5000 + b"}",
        payload()[:-1] + b',"x":' + b"9" * 5000 + b"}",
    ],
    ids=lambda body: re.sub(r"\d{9,}", "time", body.decode("latin1"))[-40:],
)
async def test_claims(site: Site, own: PrivateKey, caplog: pytest.LogCaptureFixture, body: bytes) -> None:
    await refused(site, signed(own, HEADER, body), caplog)


async def test_key_confusion(site: Site, keys: Keys, caplog: pytest.LogCaptureFixture) -> None:
    """The public key, in any of its forms, is not a secret to sign with."""
    own = serialization.load_pem_public_key(keys.public.read_bytes())
    der = own.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    pkcs1 = own.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.PKCS1)
    pem = keys.public.read_bytes()
    for secret in (pem, pem.rstrip(), der, pkcs1, b""):
        for algorithm in ("HS256", "RS256"):
            part = b".".join(map(unpadded, (json.dumps({"alg": algorithm}).encode(), payload())))
            mac = hmac.HMAC(secret, hashes.SHA256())
            mac.update(part)
            await refused(site, (part + b"." + unpadded(mac.finalize())).decode(), caplog)


async def test_key_in_the_token(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    attacker = rsa_key()
    for headers in ({"jwk": jwk(attacker)}, {"kid": "/dev/null"}, {"jku": "http://127.0.0.1:1/"}):
        await refused(site, token(attacker, headers=headers), caplog)


@pytest.mark.parametrize("change", ["dots", "spaces", "padding", "junk", "not ASCII", "last bits"])
async def test_shapes(site: Site, own: PrivateKey, change: str) -> None:
    good = token(own)
    head, body, signature = good.split(".")
    forged = {
        "dots": f"{good}.",
        "spaces": f"{head}. {body}.{signature}",
        "padding": f"{head}.{body}.{signature}===",
        "junk": f"{head}.{body}!.{signature}",
        "not ASCII": f"{head}.{body}é.{signature}",
        "last bits": f"{head}.{body}.{signature[:-1]}{'B' if signature[-1] != 'B' else 'C'}",
    }[change]
    client = await site.anonymous()
    response = await client.get(WHOAMI, params={"token": forged})
    assert response.status_code == 401
    assert forged not in response.text


async def test_huge_token(site: Site, own: PrivateKey, caplog: pytest.LogCaptureFixture) -> None:
    assert "too long" in await refused(site, token(own, email="x" * 20_000), caplog)
    client = await site.anonymous()
    fitting = token(own, email="x" * 8_000)
    assert (await client.get(WHOAMI, headers={"Authorization": f"Bearer {fitting}"})).status_code == 200


async def test_issuers(environment: pytest.MonkeyPatch, own: PrivateKey) -> None:
    environment.setenv("BARTENDER_TOKEN_ISSUERS", "https://one.example.org , two")
    async with service() as site:
        for issuer in ("https://one.example.org", "two"):
            assert await site.status(token(own, iss=issuer)) == 200
        for issuer in ("provider", "tw", "two ", "https://one.example.org , two", "", "TWO"):
            assert await site.status(token(own, iss=issuer)) == 401
        response = await site.ask(token(own, iss="provider"))
        assert response.json()["detail"] == "The token's issuer ('iss') is not one that is trusted here."
        assert await site.status(signed(own, HEADER, payload(iss=["two"]))) == 401


async def test_audience(environment: pytest.MonkeyPatch, own: PrivateKey) -> None:
    environment.setenv("BARTENDER_TOKEN_AUDIENCE", "bartender")
    async with service() as site:
        assert await site.status(token(own, aud="bartender")) == 200
        assert await site.status(token(own, aud=["x", "bartender"])) == 200
        for audience in (None, "x", "bar", [], ["x"], "", ["bartender", 1], {"bartender": 1}):
            assert await site.status(token(own, aud=audience)) == 401


async def test_any_audience_without_one_configured(site: Site, own: PrivateKey) -> None:
    client = await site.anonymous()
    assert (await client.get(WHOAMI, params={"token": token(own, aud="another")})).status_code == 200


@pytest.mark.parametrize(("algorithm", "make"), [("ES256", ec_key), ("EdDSA", ed_key)])
async def test_other_kinds_of_keys(
    environment: pytest.MonkeyPatch, tmp_path: Path, keys: Keys, algorithm: str, make: Any
) -> None:
    key = make()
    (tmp_path / "private.pem").write_bytes(private_pem(key))
    (tmp_path / "public.pem").write_bytes(public_pem(key))
    environment.setenv("BARTENDER_PUBLIC_KEY", str(tmp_path / "public.pem"))
    with pytest.raises(ConfigurationError, match=f"BARTENDER_TOKEN_ALGORITHMS={algorithm}"):
        create_app()
    environment.setenv("BARTENDER_TOKEN_ALGORITHMS", f"RS256,{algorithm}")
    async with service() as site:
        generated = generate_token(tmp_path / "private.pem", "alice", [], 10, "test")
        assert jwt.get_unverified_header(generated)["alg"] == algorithm
        assert await site.status(generated) == 200
        assert await site.status(token(make())) == 401
        assert await site.status(keys.token()) == 401
        # Bytes of the right length of another kind.
        head = json.dumps({"alg": "RS256"}).encode()
        assert await site.status(".".join([unpadded(head).decode(), *generated.split(".")[1:]])) == 401


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("TOKEN_ALGORITHMS", "HS256", "name one or more of RS256, ES256, EdDSA"),
        ("TOKEN_ALGORITHMS", "RS256,none", "name one or more of"),
        ("TOKEN_ALGORITHMS", "", "name one or more of"),
        ("TOKEN_ALGORITHMS", "ES256", "is not a key for ES256"),
        ("TOKEN_ISSUERS", " , ", "BARTENDER_TOKEN_ISSUERS .* names nothing"),
        ("JWKS_URL", "keys.json", "BARTENDER_JWKS_URL is not an address"),
        ("JWKS_URL", "file:///etc/passwd", "BARTENDER_JWKS_URL is not an address"),
        ("JWKS_URL", "https://", "BARTENDER_JWKS_URL is not an address"),
        ("JWKS_URL", "https://user:hush@host/keys", "no password"),
        ("JWKS_URL", "http://[::1", "BARTENDER_JWKS_URL is not an address"),
        ("JWKS_URL", "http://host\n/", "BARTENDER_JWKS_URL is not an address"),
    ],
)
def test_mistakes(environment: pytest.MonkeyPatch, variable: str, value: str, words: str) -> None:
    environment.setenv(f"BARTENDER_{variable}", value)
    with pytest.raises(ConfigurationError, match=words) as caught:
        create_app()
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)


def test_weak_key(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weak.pem").write_bytes(public_pem(rsa_key(1024)))
    environment.setenv("BARTENDER_PUBLIC_KEY", str(tmp_path / "weak.pem"))
    with pytest.raises(ConfigurationError, match="RSA of at least 2048 bits"):
        create_app()
