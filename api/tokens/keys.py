"""The public keys that check tokens. ``jwks`` has those that come from an address."""

from collections.abc import Collection, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from flows.errors import ConfigurationError

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

KINDS = {"RS256": "RSA of at least 2048 bits", "ES256": "EC on the curve P-256", "EdDSA": "Ed25519"}
"""The algorithms we know, and what key each of them is for. None is symmetric."""

_RSA_BITS = 2048


@dataclass(frozen=True, slots=True)
class TokenKey:
    """A key is for one algorithm only, whatever a token asks for. ``kid`` is its name, where it has one."""

    algorithm: str
    key: PublicKey
    kid: str | None = None


class KeySource(Protocol):
    """Where the keys come from."""

    def running(self) -> AbstractAsyncContextManager[None]:
        """Keep the keys up to date inside of the block."""

    def find(self, algorithm: str, kid: str | None) -> Sequence[TokenKey]:
        """Return the keys that a token with this header may be signed with."""

    async def refresh(self) -> bool:
        """Look for new keys; return whether that was done.

        Raises Unavailable when it was tried in vain.
        """


class PemKey:
    """The one key of a PEM file. It has no name, so the one in a token's header does not matter."""

    def __init__(self, key: TokenKey) -> None:
        self._key = key

    def running(self) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    def find(self, algorithm: str, kid: str | None) -> Sequence[TokenKey]:
        return [self._key] if algorithm == self._key.algorithm else []

    async def refresh(self) -> bool:
        return False


def algorithm_of(key: object) -> str | None:
    """Return the algorithm that a public or private key is for; None when it is for none of ours."""
    match key:
        case rsa.RSAPublicKey() | rsa.RSAPrivateKey() if key.key_size >= _RSA_BITS:
            return "RS256"
        case ec.EllipticCurvePublicKey() | ec.EllipticCurvePrivateKey() if key.curve.name == "secp256r1":
            return "ES256"
        case ed25519.Ed25519PublicKey() | ed25519.Ed25519PrivateKey():
            return "EdDSA"
    return None


def load_public_key(path: Path, algorithms: Collection[str]) -> TokenKey:
    """Read a public key in PEM; raise ConfigurationError of one line for one of another algorithm."""
    pem = read(path, way_out="run `bartender generate-keys` or set BARTENDER_PUBLIC_KEY")
    try:
        key = serialization.load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise ConfigurationError(
            f"{path}: is not a public key in PEM format; give the public half of the pair"
        ) from error
    algorithm = algorithm_of(key)
    if algorithm is None or algorithm not in algorithms:
        raise ConfigurationError(
            f"{path}: is not a key for {' or '.join(algorithms)} ({kinds(algorithms)}); give another one"
            + (f" or set BARTENDER_TOKEN_ALGORITHMS={algorithm}" if algorithm else "")
        )
    assert isinstance(key, PublicKey)  # noqa: S101 - the only classes that have an algorithm of ours
    return TokenKey(algorithm, key)


def kinds(algorithms: Collection[str]) -> str:
    """Return in words what keys these algorithms take."""
    return " or ".join(KINDS[algorithm] for algorithm in algorithms)


def read(path: Path, *, way_out: str) -> bytes:
    """Raise ConfigurationError with this way out when the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{path}: cannot be read ({error.strerror}); {way_out}") from error
