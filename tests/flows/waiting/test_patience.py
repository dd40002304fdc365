"""Waiting for what is away."""

import logging
from collections.abc import Iterator
from itertools import islice

import pytest

from flows.errors import Unavailable
from flows.waiting.patience import Delays, patiently

AT_ONCE = Delays(0.0, longest=0.0)


def test_delays_grow_up_to_the_longest_and_begin_anew() -> None:
    delays = Delays(1.0, longest=5.0, jitter=0)
    assert list(islice(delays, 5)) == [1.0, 2.0, 4.0, 5.0, 5.0]
    assert next(iter(delays)) == 1.0


def test_a_first_delay_is_not_longer_than_the_longest() -> None:
    assert list(islice(Delays(3.0, longest=2.0, jitter=0), 2)) == [2.0, 2.0]


def test_chance_shortens_delays_and_does_not_stop_their_growth() -> None:
    rows = [list(islice(Delays(1.0, longest=1000.0), 12)) for _ in range(20)]
    for full, found in zip(Delays(1.0, longest=1000.0, jitter=0), zip(*rows, strict=True), strict=False):
        assert all(full / 2 <= delay <= full for delay in found)
        assert len(set(found)) > 1


async def test_what_passes_is_waited_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    answers: Iterator[int | Exception] = iter([Unavailable("It is away."), OSError("no route"), 7])

    async def ask() -> int:
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with caplog.at_level(logging.WARNING, "flows.waiting"):
        assert (
            await patiently(ask, delays=AT_ONCE, passing=(Unavailable, OSError), what="It is not known") == 7
        )
    assert [record.getMessage() for record in caplog.records] == [
        "It is not known; trying again in 0.0 s: It is away.",
        "It is not known; trying again in 0.0 s: no route",
    ]
    assert not any(record.exc_info for record in caplog.records)


async def test_what_does_not_pass_is_raised() -> None:
    async def ask() -> None:
        raise OSError("no route")

    with pytest.raises(OSError, match="no route"):
        await patiently(ask, delays=AT_ONCE)


async def test_an_error_that_nobody_foresaw_is_told_with_where_it_comes_from(
    caplog: pytest.LogCaptureFixture,
) -> None:
    errors = [KeyError("id")]

    async def ask() -> None:
        if errors:
            raise errors.pop()

    await patiently(ask, delays=AT_ONCE, passing=Exception)
    assert "in ask" in caplog.text
