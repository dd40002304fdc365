"""The variables that an operator's block gives to the commands of a destination."""

import math
import time
from collections.abc import Mapping

from flows.errors import Unavailable

MAX_AGE = 60.0
"""Seconds for which the variables of a block are used before the block is read again."""


class BlockVariables:
    """The variables of a block of type ``command-environment``; none when no block is named."""

    def __init__(self, block: str | None) -> None:
        self._block = block
        self._variables: Mapping[str, str] = {}
        self._read_at = -math.inf

    async def variables(self) -> Mapping[str, str]:
        """Return them as they are now, or were less than a minute ago.

        Raises Unavailable when they cannot be read.
        """
        if self._block is not None and time.monotonic() - self._read_at > MAX_AGE:
            self._variables = await _read(self._block)
            self._read_at = time.monotonic()
        return self._variables


async def _read(block: str) -> Mapping[str, str]:
    from blocks import CommandEnvironment  # imports Prefect, which few commands need

    try:
        return await CommandEnvironment.read(block)
    except ValueError as error:
        raise Unavailable(
            f"The block {block} with the commands' variables cannot be used; tell the operator."
        ) from error
    except Exception as error:  # whatever Prefect's client raises while its server is away
        raise Unavailable(f"The block {block} with the commands' variables cannot be read now.") from error
