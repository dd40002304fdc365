"""A request's body of JSON, from the socket to an object. It is small enough to be held in memory."""

import asyncio
import math
import re
from typing import Any

from fastapi import Request
from pydantic_core import from_json

from api.http.bodies import UploadStalled, receive_body
from flows.errors import InvalidUpload

_SECONDS = 60.0
MAX_VALUES = 10_000
"""Of all objects and arrays together: each costs much more memory than it has bytes."""

_JSON = re.compile(r"application/([\w.+-]+\+)?json", re.IGNORECASE)
# The possessive +: one that is not closed is not tried again from each of its characters.
_STRING = re.compile(rb'"(?s:[^"\\]|\\.)*+(?:"|\\?\Z)')


async def receive_json(request: Request, *, limit: int) -> bytes:
    """Return the body; raise InvalidUpload, UploadTooLarge, UploadStalled or ClientDisconnect."""
    media_type = request.headers.get("Content-Type", "").partition(";")[0].strip()
    # Also because another site's page cannot make a browser send this type with the visitor's cookie.
    if not _JSON.fullmatch(media_type):
        raise InvalidUpload("Send the values as application/json.")
    parts: list[bytes] = []

    async def keep(data: bytes) -> None:
        parts.append(data)

    try:
        async with asyncio.timeout(_SECONDS):
            rest = await receive_body(request, keep, limit=limit)
    except TimeoutError as error:
        raise UploadStalled(f"The body did not arrive in {_SECONDS:.0f} seconds; send it again.") from error
    return b"".join([*parts, rest])


def json_object(body: bytes) -> dict[str, Any]:
    """Return the object that the body is; raise InvalidUpload."""
    if _separators(body) > MAX_VALUES and _separators(_STRING.sub(b"", body)) > MAX_VALUES:
        raise InvalidUpload(f"The body has more than {MAX_VALUES} values; send fewer.")
    try:
        value = from_json(body, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidUpload(f"The body is not JSON that can be read: {error}.") from error
    if not isinstance(value, dict):
        raise InvalidUpload("The body is not a JSON object; send one, with the values by their names.")
    _check_numbers(value)
    return value


def _separators(text: bytes) -> int:
    return sum(text.count(character) for character in (b",", b"[", b"{"))


def _check_numbers(value: Any) -> None:
    if isinstance(value, float) and not math.isfinite(value):
        raise InvalidUpload("The body has a number that is too large; send a smaller one.")
    if isinstance(value, (dict, list)):
        for part in value.values() if isinstance(value, dict) else value:
            _check_numbers(part)
