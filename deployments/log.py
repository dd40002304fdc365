"""What our processes write to the terminal."""

import logging

_TALKATIVE = ("alembic", "asyncssh", "httpx", "httpcore", "asyncio", "websockets")
"""Libraries whose every step is of interest only at level DEBUG."""


def to_terminal(level: str) -> None:
    """Write messages from ``level`` on; of the talkative libraries warnings only, unless it is DEBUG."""
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.INFO if level == "DEBUG" else logging.WARNING)
