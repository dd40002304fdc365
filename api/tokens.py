"""Key pairs, and tokens signed with them: the operator's side. ``auth`` is the visitors' side."""

import os
import time
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey, generate_private_key

from flows.errors import ConfigurationError

ALGORITHM = "RS256"
_KEY_BITS = 2048


def generate_token(private_key: Path, username: str, roles: list[str], lifetime: int, issuer: str) -> str:
    """Return a token that is valid for ``lifetime`` minutes.

    Raises ConfigurationError when the private key cannot be used.
    """
    now = int(time.time())
    claims = {"sub": username, "iss": issuer, "roles": roles, "iat": now, "exp": now + lifetime * 60}
    return jwt.encode(claims, _load_private_key(private_key), algorithm=ALGORITHM)


def generate_key_pair(private_key: Path, public_key: Path) -> None:
    """Write a new RSA key pair as PEM; only the owner can read the private one.

    Raises ConfigurationError when one of the files is there already or cannot be written.
    """
    for path in (private_key, public_key):
        if path.exists():
            raise ConfigurationError(f"{path}: is there already; remove it to make a new key pair")
    key = generate_private_key(public_exponent=65537, key_size=_KEY_BITS)
    private_pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public_pem = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    _write_new(private_key, private_pem, mode=0o600)
    _write_new(public_key, public_pem, mode=0o644)


def load_public_key(path: Path) -> RSAPublicKey:
    """Read a public RSA key in PEM; raise ConfigurationError of one line for anything else."""
    pem = _read(path, way_out="run `bartender generate-keys` or set BARTENDER_PUBLIC_KEY")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path}: is not a public key in PEM format; give the public half of the pair"
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise ConfigurationError(f"{path}: is not an RSA key; tokens are signed with {ALGORITHM}")
    return key


def _load_private_key(path: Path) -> RSAPrivateKey:
    pem = _read(path, way_out="give the private half of the key pair")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path}: is not a private key in PEM format without a passphrase"
        ) from error
    if not isinstance(key, RSAPrivateKey):
        raise ConfigurationError(f"{path}: is not an RSA key; tokens are signed with {ALGORITHM}")
    return key


def _read(path: Path, *, way_out: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); {way_out}") from error


def _write_new(path: Path, content: bytes, *, mode: int) -> None:
    try:
        # The mode is given at creation: there is no moment in which others can read the file.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written ({error.strerror}); choose another path"
        ) from error
