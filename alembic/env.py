"""How alembic reaches the database: by the connection it is given, else by the settings."""

import asyncio
import sys
from logging.config import fileConfig

from sqlalchemy import Connection

from alembic import context
from deployments.migrations import explained
from deployments.settings import Settings
from flows.database.engines import open_engine
from flows.errors import ConfigurationError
from flows.jobs import destination_reports, job, leases, question_turns, shares

TABLES = (
    job.job_table,
    leases.worker_table,
    destination_reports.report_table,
    shares.submitter_table,
    question_turns.question_table,
)
"""Their modules are what makes them known."""


def migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=job.metadata,
        compare_server_default=True,
        # The locks of one are let go of before the next has to wait for its own.
        transaction_per_migration=True,
    )
    with context.begin_transaction():
        context.run_migrations()


async def migrate_configured() -> None:
    url = Settings.load().configured_database()
    if url is None:
        raise ConfigurationError(
            "environment: BARTENDER_DB_HOST or BARTENDER_DB_DSN is missing: set it to what to migrate "
            "(bartender serve migrates an embedded one)"
        )
    engine = open_engine(url)
    try:
        with explained(url):
            async with engine.connect() as connection:
                await connection.run_sync(migrate)
    finally:
        await engine.dispose()


def main() -> None:
    connection = context.config.attributes.get("connection")
    if connection is not None:
        migrate(connection)
        return
    if context.config.config_file_name is not None:
        fileConfig(context.config.config_file_name)
    try:
        asyncio.run(migrate_configured())
    except ConfigurationError as error:
        sys.exit(f"alembic: {error}")


main()
