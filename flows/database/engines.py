"""SQLAlchemy's engine, which migrations need."""

from typing import Any

from sqlalchemy import URL, NullPool
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

from flows import postgres


def open_engine(url: URL, **connect_args: Any) -> AsyncEngine:
    """Return an engine that keeps no connection; they are made as all are."""
    return create_async_engine(
        url, poolclass=NullPool, connect_args={"async_creator_fn": postgres.connect, **connect_args}
    )
