"""Since when something about a job is not as it should be."""

import time


class Doubts:
    """Times of this process only: after a restart, everybody gets the benefit of the doubt again."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def age(self, token: str) -> float:
        """Return for how many seconds there has been doubt; it begins with the first call."""
        now = time.monotonic()
        return now - self._since.setdefault(token, now)

    def settle(self, token: str) -> None:
        """There is no doubt any more."""
        self._since.pop(token, None)
