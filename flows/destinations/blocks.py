"""Blocks with credentials, as they are saved in Prefect at the moment."""

from typing import TypeVar

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
