"""Connections of a test."""

from collections.abc import AsyncIterator

import pytest

from flows.ssh.connections import Connections


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    connections = Connections()
    yield connections
    await connections.close()
