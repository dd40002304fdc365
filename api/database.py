"""The API's connections to PostgreSQL."""

from sqlalchemy import URL

from flows.database.pool import Limits, Pool

# To give up soon: a visitor is waiting.
_LIMITS = Limits(connections=12, wait_seconds=5.0, connect_seconds=5.0, answer_seconds=30.0)


def open_pool(url: URL, *, echo: bool) -> Pool:
    """Return the connections that all requests to this process share."""
    return Pool(url, _LIMITS, echo=echo)
