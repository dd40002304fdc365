"""How each connection to PostgreSQL is made, so that neither side keeps anything for one that is gone."""

import functools
import logging
import socket
from collections.abc import Mapping
from typing import Any

import asyncpg

from flows.waiting import vanishing

logger = logging.getLogger(__name__)

# Locks of a machine that vanished are let go of within 30 s, whatever its session was doing: idle, in a
# transaction or not; running a query, which looks for its client only if it is told to; sending an answer
# that nobody takes. Any user may set these. On a Unix socket those of TCP have no effect, and need none.
SETTINGS: Mapping[str, str] = {
    "tcp_keepalives_idle": str(vanishing.IDLE),
    "tcp_keepalives_interval": str(vanishing.INTERVAL),
    "tcp_keepalives_count": str(vanishing.PROBES),
    "tcp_user_timeout": str(int(vanishing.SECONDS * 1000)),
    "client_connection_check_interval": "5s",
    "idle_in_transaction_session_timeout": "30s",  # of a client that is frozen, too
}

_REFUSED = (
    asyncpg.InvalidParameterValueError,
    asyncpg.UndefinedObjectError,
    asyncpg.ProtocolViolationError,  # by a pooler in between
)


async def connect(*args: Any, **kwargs: Any) -> asyncpg.Connection:
    """Connect as ``asyncpg.connect`` does; for SQLAlchemy and pools of asyncpg to make theirs by."""
    own = kwargs.pop("server_settings", None) or {}
    connection: asyncpg.Connection
    try:
        connection = await asyncpg.connect(*args, **kwargs, server_settings={**SETTINGS, **own})
    except _REFUSED as error:
        _complain(str(error))
        connection = await asyncpg.connect(*args, **kwargs, server_settings=own or None)
    vanishing.notice(socket_of(connection))
    return connection


@functools.cache
def _complain(error: str) -> None:  # once for each
    logger.warning(
        "The database takes no settings against machines that vanish (%s): locks of such a one may stay for "
        "hours; use PostgreSQL 14 or later on Linux, and let poolers pass %s on",
        error,
        ", ".join(SETTINGS),
    )


def socket_of(connection: Any) -> socket.socket:
    """Return the socket of one of asyncpg's connections."""
    # asyncpg has no public name for it.
    return connection._transport.get_extra_info("socket")  # type: ignore[no-any-return]
