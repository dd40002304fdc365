"""The schema of the database: brought up to date where it is embedded, checked where it is configured."""

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection
from sqlalchemy.exc import DBAPIError

import flows
from alembic import command
from flows.database.engines import open_engine
from flows.database.errors import unavailable_when_away
from flows.errors import ConfigurationError, one_line

CONNECT_SECONDS = 10.0


async def upgrade(url: URL) -> None:
    """Bring the schema to the newest revision, or leave it as it is.

    Raises ConfigurationError for a newer one than this version knows, Unavailable when the database dies.
    """
    with unavailable_when_away():
        await _run(url, _upgrade)


async def check(url: URL) -> None:
    """Raise ConfigurationError when the database cannot be reached or its schema is not this version's."""
    with explained(url):
        await _run(url, _check, command_timeout=CONNECT_SECONDS)


@contextmanager
def explained(url: URL) -> Iterator[None]:
    """Turn what a driver raises while connecting into a ConfigurationError that says what to do."""
    try:
        yield
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, DBAPIError) as error:
        raise ConfigurationError(
            f"environment: the database {url.render_as_string(hide_password=True)} cannot be used "
            f"({_cause(error)}); correct BARTENDER_DB_HOST, its companions or BARTENDER_DB_DSN, or start it"
        ) from error


async def _run(url: URL, function: Callable[[Connection], None], **options: float) -> None:
    engine = open_engine(url, timeout=CONNECT_SECONDS, **options)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(function)
    finally:
        await engine.dispose()


def _scripts() -> Config:
    package = Path(flows.__file__).parent
    # Beside the packages in a checkout, inside of one where Bartender is installed.
    places = (package.parent / "alembic", package / "alembic")
    config = Config()
    config.set_main_option(
        "script_location", str(next(p for p in places if (p / "env.py").exists())).replace("%", "%%")
    )
    return config


def _upgrade(connection: Connection) -> None:
    config = _scripts()
    _found(connection, ScriptDirectory.from_config(config))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


def _check(connection: Connection) -> None:
    scripts = ScriptDirectory.from_config(_scripts())
    found = _found(connection, scripts)
    if found != scripts.get_current_head():
        state = "has no tables of Bartender yet" if found is None else f"has the older schema {found}"
        raise ConfigurationError(f"{_named(connection)} {state}; run: alembic upgrade head")


def _found(connection: Connection, scripts: ScriptDirectory) -> str | None:
    """Return the revision that the database has, if any; ConfigurationError for one that is not known."""
    found = MigrationContext.configure(connection).get_current_revision()
    if found is not None and found not in {script.revision for script in scripts.walk_revisions()}:
        raise ConfigurationError(
            f"{_named(connection)} has the schema {found} of a newer Bartender; install that version here too"
        )
    return found


def _named(connection: Connection) -> str:
    return f"environment: the database {connection.engine.url.render_as_string(hide_password=True)}"


def _cause(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError):
        return "it does not answer"
    if isinstance(original, socket.gaierror):
        return "there is no host of that name"
    return one_line(original) or type(original).__name__
