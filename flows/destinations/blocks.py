"""Blocks with credentials, as they are saved in Prefect at the moment."""

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

import httpx
from prefect.blocks.core import Block
from prefect.exceptions import PrefectException

from flows.errors import Unavailable

B = TypeVar("B", bound=Block)


async def saved(kind: type[B], name: str) -> B:
    """Return the block of that name; Unavailable when it cannot be read."""
    try:
        block: B = await kind.aload(name)
    except ValueError as error:
        raise Unavailable(
            f"The block {name} ({kind.get_block_type_name()}) cannot be used: make or correct it in "
            "Prefect's UI."
        ) from error
    except (httpx.HTTPError, OSError, PrefectException) as error:
        raise Unavailable(f"The block {name} cannot be read while Prefect is away.") from error
    return block


class SavedBlock(Generic[B]):
    """A block of a destination, which is read again once it is doubted: it may have been saved anew.

    ``kind`` returns its class: to import that takes a second.
    """

    def __init__(self, kind: Callable[[], type[B]], name: str) -> None:
        self.name = name
        self._kind = kind
        self._block: B | None = None
        self._doubted = False
        self._reading = asyncio.Lock()

    async def current(self) -> B:
        """Return it: the same object as before where nothing has changed. Raises Unavailable."""
        async with self._reading:
            if self._block is None or self._doubted:
                block = await saved(self._kind(), self.name)
                self._doubted = False
                if self._block is None or block.model_dump() != self._block.model_dump():
                    self._block = block
            return self._block

    def doubt(self, block: B) -> None:
        """Have it read again, if this is the one that is used."""
        self._doubted = self._doubted or block is self._block
