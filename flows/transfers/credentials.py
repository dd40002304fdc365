"""Credentials for the files of one job, and the keys of pilots; both are checked without asking anybody.

A credential says what it is good for, and for how long, with a code of it that only this service can make.
It is no visitor's token: all that it opens are the routes that move the files of its job.
"""

import base64
import binascii
import hashlib
import hmac
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path

from flows.disk import private_files
from flows.errors import VisitorError

_FORM = re.compile(
    r"(?P<job>[0-9]{1,18})\.(?P<turn>[0-9]{1,9})\.(?P<expires>[0-9]{1,12})\.(?P<token>[0-9a-f-]{36})"
    r"\.(?P<destination>[A-Za-z0-9_-]{1,1000})\.[A-Za-z0-9_-]{43}"
)
_PILOT_FORM = re.compile(r"(?P<destination>[A-Za-z0-9_-]{1,1000})\.[A-Za-z0-9_-]{43}")


class CredentialInvalid(VisitorError):
    """It was made up, or its time is over."""


@dataclass(frozen=True, slots=True)
class Grant:
    """What a credential is good for. ``expires``: s since 1970; ``turn``: how often it was given anew."""

    job_id: int
    token: str
    destination: str
    turn: int
    expires: int


class TransferKey:
    """What credentials are made from. All processes of this service have the same; nobody else knows it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, path: Path) -> "TransferKey":
        """Take the key that is kept there, or make it."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(private_files.kept(path, lambda: secrets.token_hex(32)).encode())

    def credential(self, grant: Grant) -> str:
        """Return the words that prove the grant; letters, digits, and ``. - _`` only."""
        destination = _encoded(grant.destination.encode())
        text = f"{grant.job_id}.{grant.turn}.{grant.expires}.{grant.token}.{destination}"
        return f"{text}.{self._code('files of a job', text)}"

    def grant(self, credential: str) -> Grant:
        """Return what the words prove. Raises CredentialInvalid."""
        match = _FORM.fullmatch(credential)
        text = credential.rpartition(".")[0]
        if match is None or not self._is_ours(credential, "files of a job", text):
            raise CredentialInvalid("This credential was not made here; claim the job again.")
        if int(match["expires"]) < time.time():
            raise CredentialInvalid("The time of this credential is over; claim the job again.")
        return Grant(
            job_id=int(match["job"]),
            token=match["token"],
            destination=_decoded(match["destination"]),
            turn=int(match["turn"]),
            expires=int(match["expires"]),
        )

    def pilot_key(self, destination: str) -> str:
        """Return the words by which pilots of a destination prove that they are."""
        text = _encoded(destination.encode())
        return f"{text}.{self._code('pilots of a destination', text)}"

    def destination_of(self, pilot_key: str) -> str:
        """Return the destination whose pilots have this key. Raises CredentialInvalid."""
        match = _PILOT_FORM.fullmatch(pilot_key)
        if match is None or not self._is_ours(pilot_key, "pilots of a destination", match["destination"]):
            raise CredentialInvalid("This is no pilot key of this service; see `bartender pilot-key`.")
        return _decoded(match["destination"])

    def _is_ours(self, words: str, purpose: str, text: str) -> bool:
        return hmac.compare_digest(words, f"{text}.{self._code(purpose, text)}")

    def _code(self, purpose: str, text: str) -> str:
        return _encoded(hmac.digest(self._key, f"{purpose}: {text}".encode(), hashlib.sha256))


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _decoded(text: str) -> str:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (binascii.Error, UnicodeDecodeError) as error:  # only what we have encoded has the right code
        raise CredentialInvalid("This credential was not made here; claim the job again.") from error
