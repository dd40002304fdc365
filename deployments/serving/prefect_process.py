"""What is done in the process of the Prefect server before its application is made."""

from datetime import timedelta
from typing import Any

import asyncpg

from flows import postgres
from flows.waiting import vanishing

LOOK_INTERVAL = timedelta(seconds=2)


def prepare() -> None:
    """Read the settings of this process, and have less to do while nothing happens."""
    from prefect.context import refresh_global_settings_context

    refresh_global_settings_context()  # those from before, where Prefect was imported for others too
    _calm_docket()
    _keep_listening()


def _calm_docket() -> None:
    """Let the queue of background tasks look less often for work that is due.

    It looks four times a second, and ten times for tasks to cancel, which nobody does: a third of what the
    server does at rest. There are no settings for it. New work is noticed at once all the same.
    """
    import docket
    from prefect.server.api import background_workers

    class CalmWorker(docket.Worker):
        def __init__(self, *arguments: Any, **options: Any) -> None:
            calm = {"minimum_check_interval": LOOK_INTERVAL, "scheduling_resolution": LOOK_INTERVAL}
            super().__init__(*arguments, **{**calm, **options})

        async def _cancellation_listener(self) -> None:
            session = self._processing_session
            if session is not None:
                session.cancellation_ready.set()
                await session.stopping.wait()

    background_workers.__dict__["Worker"] = CalmWorker


def _keep_listening() -> None:
    from prefect.server.events import triggers

    triggers.__dict__["get_pg_notify_connection"] = lasting_connection


async def lasting_connection() -> asyncpg.Connection | None:
    """Connect as Prefect does to hear of new automations; None where that cannot be.

    Its session may be idle for as long as it likes. Else our database ends it each minute, and until the
    server finds that out, a new automation misses what happens. One to a machine that vanished ends.
    """
    from prefect.server.utilities.postgres_listener import get_pg_notify_connection

    connection: asyncpg.Connection | None = await get_pg_notify_connection()
    if connection is not None:
        vanishing.notice(postgres.socket_of(connection))
        await connection.execute("SET idle_session_timeout = 0")
    return connection
