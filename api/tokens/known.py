"""Tokens that were found good a moment ago: to check one takes a seventh of a small request."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass

from api.tokens.keys import KeySource, TokenKey
from flows.jobs.users import User

MOST = 1000
"""Tokens of one process; those that were not used for longest are forgotten, and checked anew."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """Whom a token speaks for, as long as nothing changes of what that rests on.

    ``since`` and ``until`` are times of the clock, in seconds: of the check, before which the clock was set
    back since, and of the token's end.
    """

    user: User
    key: TokenKey
    kid: str | None
    since: float
    until: int

    def holds(self, keys: KeySource, now: float) -> bool:
        """Whether it would be found again: the key may have been withdrawn."""
        in_time = self.since <= now < self.until
        return in_time and any(key is self.key for key in keys.find(self.key.algorithm, self.kid))


class KnownTokens:
    """By their hashes, so that none of them is kept."""

    def __init__(self) -> None:
        self._findings: OrderedDict[bytes, Finding] = OrderedDict()

    def find(self, token: str, keys: KeySource, now: float) -> User | None:
        """Return whom a known token speaks for; None when it has to be checked."""
        name = _hash(token)
        finding = self._findings.get(name)
        if finding is None:
            return None
        if not finding.holds(keys, now):
            del self._findings[name]
            return None
        self._findings.move_to_end(name)
        return finding.user

    def remember(self, token: str, finding: Finding) -> None:
        self._findings[_hash(token)] = finding
        while len(self._findings) > MOST:
            self._findings.popitem(last=False)


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
