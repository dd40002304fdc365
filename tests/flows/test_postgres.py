"""Connections that notice when the other side has vanished; what that is good for: tests/hosts."""

import logging
import socket
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy import URL

from deployments.serving.listening import listen
from flows import postgres
from flows.database.connecting import Connection
from flows.database.pool import Pool
from tests.postgres_proxy import PostgresProxy


def notices(connection: socket.socket) -> bool:
    wanted = (socket.TCP_KEEPIDLE, 10), (socket.TCP_KEEPINTVL, 5), (socket.TCP_USER_TIMEOUT, 25_000)
    return bool(connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)) and all(
        connection.getsockopt(socket.IPPROTO_TCP, option) == value for option, value in wanted
    )


async def setting(connection: Connection, name: str) -> str:
    return str(await connection.fetchval("SELECT current_setting($1)", name))


async def test_both_sides_look_for_each_other(database_url: URL) -> None:
    async with PostgresProxy(database_url).listening() as proxy:
        connection: Any = await Pool(proxy.url).open()
        assert notices(connection._transport.get_extra_info("socket"))
        assert await setting(connection, "idle_in_transaction_session_timeout") == "30s"
        assert await setting(connection, "client_connection_check_interval") == "5s"
        await connection.close()


async def test_a_server_that_does_not_know_these_settings(
    database_url: URL, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Such as an old one, or a pooler."""
    monkeypatch.setattr(postgres, "SETTINGS", {"no_such_setting": "1"})
    pool = Pool(database_url)
    with caplog.at_level(logging.WARNING):
        assert await pool.fetch(sa.select(1))
    await pool.close()
    assert "takes no settings against machines that vanish" in caplog.text


def test_who_follows_a_job_is_looked_for_too() -> None:
    with (
        listen("127.0.0.1", 0, "BARTENDER_PORT") as listener,
        socket.create_connection(listener.getsockname()),
        listener.accept()[0] as accepted,
    ):
        assert notices(accepted)
