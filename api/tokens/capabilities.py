"""Words in a path that let who has them read the files of one job for a while, without a token.

A browser shows what a job wrote on an origin of its own, from where it sends no cookies: the right to read
has to be in the address.
"""

import base64
import hashlib
import hmac
import re
import secrets
import time
from pathlib import Path

from flows.disk import private_files
from flows.errors import VisitorError

LIFETIME = 3600.0
"""Seconds. Whoever looks longer opens the file again."""

_FORM = re.compile(r"([0-9]{1,19})-([0-9]{1,12})-[A-Za-z0-9_-]{32}")
_MAC_BYTES = 24


class CapabilityInvalid(VisitorError):
    """The address was made up, or its time is over."""


class Capabilities:
    """``key`` is of all processes that serve these files; nobody else knows it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def of(cls, path: Path) -> "Capabilities":
        """Take the key that is kept there, or make it."""
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cls(private_files.kept(path, lambda: secrets.token_hex(32)).encode())

    def make(self, job_id: int) -> str:
        """Return the capability for a job's files, from now on."""
        return self._signed(job_id, int(time.time() + LIFETIME))

    def job_of(self, capability: str) -> int:
        """Return the job's id. Raises CapabilityInvalid."""
        match = _FORM.fullmatch(capability)
        if match is None or not hmac.compare_digest(capability, self._signed(int(match[1]), int(match[2]))):
            raise CapabilityInvalid("This address is not one that was given out here; open the file again.")
        if int(match[2]) < time.time():
            raise CapabilityInvalid("This address was good for an hour; open the file again.")
        return int(match[1])

    def _signed(self, job_id: int, expires: int) -> str:
        text = f"{job_id}-{expires}"
        mac = hmac.digest(self._key, f"files of a job: {text}".encode(), hashlib.sha256)[:_MAC_BYTES]
        return f"{text}-{base64.urlsafe_b64encode(mac).decode()}"
