"""Keeps tokens and capabilities out of the server's access log."""

import logging
import re
from urllib.parse import unquote_plus

from api.auth import QUERY
from api.files.shown import VIEW

_CAPABILITY = re.compile(rf"({re.escape(VIEW)}/)[^/]+")


class HideTokens(logging.Filter):
    """Replaces the value of ``?token=`` in the records of uvicorn's access log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(hide(part) if isinstance(part, str) else part for part in record.args)
        return True


def hide(target: str) -> str:
    """Return the path and query of a request without the token and what is as good as one."""
    path, mark, query = target.partition("?")
    path = _CAPABILITY.sub(r"\1…", path)
    return path + mark + "&".join(map(_hide_value, query.split("&")))


def _hide_value(pair: str) -> str:
    # Decoded as whoever reads the query decodes it: %74oken is the same name.
    name, separator, _ = pair.partition("=")
    return f"{name}=…" if separator and unquote_plus(name).lower() == QUERY else pair


def install() -> None:
    """Add the filter to uvicorn's logger, once however often it is called."""
    logger = logging.getLogger("uvicorn.access")
    if not any(isinstance(present, HideTokens) for present in logger.filters):
        logger.addFilter(HideTokens())
