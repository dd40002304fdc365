"""A connection that is made when it is needed, to a host that is away now and then."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import asyncssh
import pytest

from flows.errors import Unavailable
from flows.ssh import reconnecting
from flows.ssh.reconnecting import Reconnecting
from flows.waiting.patience import Delays


class Connection:
    def __init__(self) -> None:
        self.closed = False

    def is_closed(self) -> bool:
        return self.closed


class FarHost:
    """``error`` is why it cannot be connected to."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.tries = 0
        self.open: list[Connection] = []

    @asynccontextmanager
    async def connect(self) -> AsyncIterator[asyncssh.SSHClientConnection]:
        self.tries += 1
        await asyncio.sleep(0)
        if self.error is not None:
            raise self.error
        self.open.append(connection := Connection())
        try:
            yield cast(Any, connection)
        finally:
            self.open.remove(connection)


@pytest.fixture
def far() -> FarHost:
    return FarHost()


@pytest.fixture
async def connections(far: FarHost) -> AsyncIterator[Reconnecting]:
    connections = Reconnecting("far", far.connect)
    yield connections
    await connections.close()
    assert far.open == []


@pytest.fixture
def no_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconnecting, "DELAYS", Delays(0.0, longest=0.0))


async def refused(connections: Reconnecting) -> str:
    with pytest.raises(Unavailable) as caught:
        await connections.take()
    return str(caught.value)


async def test_all_who_wait_share_an_attempt(connections: Reconnecting, far: FarHost) -> None:
    lines = await asyncio.gather(*(connections.take() for _ in range(9)))
    assert far.tries == 1
    assert len(set(lines)) == 1


async def test_nobody_waits_for_who_was_away_a_moment_ago(connections: Reconnecting, far: FarHost) -> None:
    far.error = ConnectionRefusedError(111, "Connection refused")
    said = {await refused(connections) for _ in range(9)}
    assert said == {"far does not answer (Connection refused)."}
    assert far.tries == 1


async def test_one_that_was_lost_is_made_again_and_hung_up_by_its_last_user(
    connections: Reconnecting, far: FarHost
) -> None:
    first, again = await connections.take(), await connections.take()
    far.open[0].closed = True
    other = await connections.take()
    assert other is not first
    connections.give_back(first)
    await asyncio.sleep(0)
    assert len(far.open) == 2
    connections.give_back(again)
    for _ in range(3):
        await asyncio.sleep(0)
    assert far.open == [cast(Any, other.connection)]
    connections.give_back(other)


async def test_a_host_that_stays_away_is_told_of_once_and_then_seldom(
    no_delays: None, far: FarHost, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    connections = Reconnecting("far", far.connect)
    caplog.set_level(logging.INFO)
    far.error = ConnectionRefusedError(111, "Connection refused")
    for _ in range(20):
        await refused(connections)
    assert [record.exc_info for record in caplog.records] == [None]
    assert "Connection refused" in caplog.text
    far.error = TimeoutError()
    for _ in range(20):
        await refused(connections)
    assert len(caplog.records) == 2
    assert "in time" in caplog.text
    far.error = None
    connections.give_back(await connections.take())
    assert "connected to again" in caplog.records[-1].message
    await connections.close()


async def test_the_same_is_said_again_after_a_while(
    no_delays: None, far: FarHost, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reconnecting, "DISTANCES", Delays(0.0, longest=0.0))
    connections = Reconnecting("far", far.connect)
    far.error = OSError(113, "No route to host")
    for _ in range(3):
        await refused(connections)
    assert len(caplog.records) == 3
    await connections.close()
