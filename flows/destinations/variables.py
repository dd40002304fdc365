"""The variables that an operator's block gives to the commands of a destination."""

import math
import time

MAX_AGE = 60.0
"""Seconds for which the variables of a block are used before the block is read again."""


class BlockVariables:
    """The variables of a block of type ``command-environment``; none when no block is named."""

    def __init__(self, block: str | None) -> None:
        self._block = block
        self._variables: dict[str, str] = {}
        self._read_at = -math.inf

    async def variables(self) -> dict[str, str]:
        """Return them as they are now, or were less than a minute ago."""
        if self._block is not None and time.monotonic() - self._read_at > MAX_AGE:
            from blocks import CommandEnvironment  # imports Prefect, which few commands need

            self._variables = await CommandEnvironment.read(self._block)
            self._read_at = time.monotonic()
        return self._variables
