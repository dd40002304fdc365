"""Answers that are asked for again and again: with a tag of what they say, or nothing for who knows it."""

import hashlib
from collections.abc import Mapping

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response


def json_answer(request: Request, content: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """Return the JSON with a tag, or 304 where the request names the tag; these headers are there in both.

    Only the visitor's own browser keeps it, and asks each time whether it still holds.
    """
    headers = headers or {}
    said = hashlib.blake2b(content, digest_size=16)
    for name, value in sorted(headers.items()):
        said.update(f"\n{name}: {value}".encode())
    tag = f'"{said.hexdigest()}"'
    headers = {**headers, "ETag": tag, "Cache-Control": "private, no-cache"}
    if is_known(tag, request.headers):
        return Response(None, 304, headers)
    return Response(content, 200, headers, "application/json")


def is_known(tag: str, headers: Headers) -> bool:
    """Whether who asks has the answer with this tag already."""
    sent = headers.get("If-None-Match")
    if sent is None:
        return False
    known = [one.strip().removeprefix("W/") for one in sent.split(",")]
    return tag in known or known == ["*"]
