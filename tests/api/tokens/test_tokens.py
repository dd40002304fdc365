"""Key pairs and the operator's mistakes with them."""

import os
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from api.tokens.keys import load_public_key
from api.tokens.signing import generate_key_pair, generate_token
from flows.errors import ConfigurationError
from tests.api.conftest import Keys


def test_private_key_is_private(keys: Keys) -> None:
    assert keys.private.stat().st_mode & 0o777 == 0o600


def test_a_key_pair_is_never_overwritten(keys: Keys, tmp_path: Path) -> None:
    before = keys.private.read_bytes()
    with pytest.raises(ConfigurationError, match="there already"):
        generate_key_pair(keys.private, tmp_path / "new.pem")
    assert keys.private.read_bytes() == before
    with pytest.raises(ConfigurationError, match="there already"):
        generate_key_pair(tmp_path / "new.pem", keys.public)
    assert not list(tmp_path.iterdir())


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be written"):
        generate_key_pair(tmp_path / "no" / "private.pem", tmp_path / "public.pem")


def test_token(keys: Keys) -> None:
    token = generate_token(keys.private, "alice", ["a"], 60, "me")
    assert jwt.get_unverified_header(token)["alg"] == "RS256"
    claims = jwt.decode(token, load_public_key(keys.public, ["RS256"]).key, algorithms=["RS256"])
    assert claims["exp"] - claims["iat"] == 3600
    assert {name: claims[name] for name in ("sub", "iss", "roles")} == {
        "sub": "alice",
        "iss": "me",
        "roles": ["a"],
    }


def elliptic_key(path: Path, curve: ec.EllipticCurve | None = None, *, private: bool) -> Path:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    if private:
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    else:
        pem = key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    path.write_bytes(pem)
    return path


def test_public_key_mistakes(keys: Keys, tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish.pem"
    rubbish.write_bytes(os.urandom(100))
    mistakes = {
        tmp_path / "missing.pem": "cannot be read",
        tmp_path: "cannot be read",
        rubbish: "not a public key in PEM",
        keys.private: "not a public key in PEM",
        elliptic_key(
            tmp_path / "ec.pem", private=False
        ): "not a key for RS256 .* set BARTENDER_TOKEN_ALGORITHMS=ES256",
    }
    for path, words in mistakes.items():
        with pytest.raises(ConfigurationError, match=words) as caught:
            load_public_key(path, ["RS256"])
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_private_key_mistakes(keys: Keys, tmp_path: Path) -> None:
    mistakes = {
        tmp_path / "missing.pem": "cannot be read",
        keys.public: "not a private key in PEM",
        elliptic_key(tmp_path / "ec.pem", ec.SECP384R1(), private=True): "not a key that signs tokens",
    }
    for path, words in mistakes.items():
        with pytest.raises(ConfigurationError, match=words):
            generate_token(path, "alice", [], 1, "me")
