"""A block with credentials that is read when it is needed, and again when it may have changed."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from prefect.blocks.core import Block

B = TypeVar("B", bound="Block")


class SavedBlock(Generic[B]):
    """A block of a destination, which is read again once it is doubted: it may have been saved anew.

    ``kind`` returns its class, which need not be imported before.
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
                from flows.destinations.blocks import saved  # imports Prefect, which takes a second

                block = await saved(self._kind(), self.name)
                self._doubted = False
                if self._block is None or block.model_dump() != self._block.model_dump():
                    self._block = block
            return self._block

    def doubt(self, block: B) -> None:
        """Have it read again, if this is the one that is used."""
        self._doubted = self._doubted or block is self._block
