"""Key pairs, and tokens signed with them: the operator's side. ``verification`` is the visitors' side."""

import os
import time
from pathlib import Path

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key

from api.tokens.keys import KINDS, PrivateKey, algorithm_of, kinds, read
from api.tokens.verification import is_name
from flows.errors import ConfigurationError

_KEY_BITS = 2048


def generate_token(private_key: Path, username: str, roles: list[str], lifetime: int, issuer: str) -> str:
    """Return a token that is valid for ``lifetime`` minutes; the kind of the key decides how it is signed.

    Raises ConfigurationError when the private key cannot be used, or when a name would be refused.
    """
    for name in (username, *roles):
        if not is_name(name):
            raise ConfigurationError(f"{name!r}: is not a name; give 1 to 255 printable characters")
    key, algorithm = _load_private_key(private_key)
    now = int(time.time())
    claims = {"sub": username, "iss": issuer, "roles": roles, "iat": now, "exp": now + lifetime * 60}
    return jwt.encode(claims, key, algorithm=algorithm)


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


def _load_private_key(path: Path) -> tuple[PrivateKey, str]:
    pem = read(path, way_out="give the private half of the key pair")
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path}: is not a private key in PEM format without a passphrase"
        ) from error
    algorithm = algorithm_of(key)
    if algorithm is None or not isinstance(key, PrivateKey):
        raise ConfigurationError(f"{path}: is not a key that signs tokens; give {kinds(KINDS)}")
    return key, algorithm


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
