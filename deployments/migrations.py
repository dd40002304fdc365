"""The schema of the database: brought up to date where it is embedded, checked where it is configured."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from sqlalchemy import URL
from sqlalchemy.exc import DBAPIError

import flows
from flows import postgres
from flows.database.connecting import connect_options
from flows.database.errors import unavailable_when_away
from flows.errors import ConfigurationError, one_line

CONNECT_SECONDS = 10.0


async def upgrade(url: URL) -> None:
    """Bring the schema to the newest revision, or leave it as it is.

    Raises ConfigurationError for a newer one than this version knows, Unavailable when the database dies.
    """
    with unavailable_when_away():
        if await _revision(url) == _revisions()[-1]:
            return
        from deployments import alembic_commands  # Alembic takes longer to import than all else here takes

        await alembic_commands.upgrade(url, _scripts())


async def check(url: URL) -> None:
    """Raise ConfigurationError when the database cannot be reached or its schema is not this version's."""
    with explained(url):
        found = await _revision(url, command_timeout=CONNECT_SECONDS)
    if found != _revisions()[-1]:
        state = "has no tables of Bartender yet" if found is None else f"has the older schema {found}"
        raise ConfigurationError(f"{_named(url)} {state}; run: alembic upgrade head")


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


async def _revision(url: URL, **options: float) -> str | None:
    """Return the revision that the database has, if any; ConfigurationError for one that is not known."""
    connection = await postgres.connect(**connect_options(url), timeout=CONNECT_SECONDS, **options)
    try:
        found: str | None = await connection.fetchval("SELECT version_num FROM alembic_version")
    except asyncpg.UndefinedTableError:
        return None
    finally:
        await connection.close()
    if found is not None and found not in _revisions():
        raise ConfigurationError(
            f"{_named(url)} has the schema {found} of a newer Bartender; install that version here too"
        )
    return found


def _scripts() -> Path:
    package = Path(flows.__file__).parent
    # Beside the packages in a checkout, inside of one where Bartender is installed.
    places = (package.parent / "alembic", package / "alembic")
    return next(place for place in places if (place / "env.py").exists())


def _revisions() -> list[str]:
    """Return all that there are, by the names of their files."""
    return sorted(path.name.partition("_")[0] for path in (_scripts() / "versions").glob("*.py"))


def _named(url: URL) -> str:
    return f"environment: the database {url.render_as_string(hide_password=True)}"


def _cause(error: Exception) -> str:
    original = getattr(error, "orig", None) or error
    if isinstance(original, TimeoutError):
        return "it does not answer"
    if isinstance(original, socket.gaierror):
        return "there is no host of that name"
    return one_line(original) or type(original).__name__
