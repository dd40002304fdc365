"""Bodies that come batch by batch, and those that hardly come."""

import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import Request
from starlette.requests import ClientDisconnect

from api.http import bodies
from api.http.bodies import BATCH, Batches, UploadStalled

PART = 1 << 16


def request_of(*messages: dict[str, Any]) -> Request:
    coming = iter(messages)

    async def receive() -> dict[str, Any]:
        return next(coming)

    return Request({"type": "http", "method": "PUT", "headers": []}, receive)


def part(content: bytes, *, more: bool = True) -> dict[str, Any]:
    return {"type": "http.request", "body": content, "more_body": more}


async def test_batches_are_large_and_all_of_the_body() -> None:
    parts = [part(bytes([n]) * PART, more=n < 39) for n in range(40)]
    body, batches = Batches(request_of(*parts)), []
    while batch := await body.next():
        batches.append(batch)
    assert b"".join(batches) == b"".join(one["body"] for one in parts)
    assert [len(batch) for batch in batches[:-1]] == [BATCH, BATCH]
    assert await body.next() == b""


async def test_who_goes_away_half_way_has_not_sent_all() -> None:
    body = Batches(request_of(part(bytes(BATCH)), {"type": "http.disconnect"}))
    await body.next()
    with pytest.raises(ClientDisconnect):
        await body.next()


def seconds(step: float) -> Iterator[float]:
    return itertools.count(0, step)


@pytest.mark.parametrize(("step", "enough"), [(1.0, False), (0.5, True)])
async def test_a_body_that_hardly_comes_is_given_up(
    monkeypatch: pytest.MonkeyPatch, step: float, enough: bool
) -> None:
    """Without a silence that would be long enough, but keeping busy who waits for it."""
    clock = seconds(step)
    monkeypatch.setattr(bodies, "monotonic", lambda: next(clock))
    parts = [part(bytes(int(bodies.SLOWEST * 0.7)), more=n < 299) for n in range(300)]
    body = Batches(request_of(*parts))
    if enough:
        assert len(await body.next()) == sum(len(one["body"]) for one in parts)
    else:
        with pytest.raises(UploadStalled):
            await body.next()
