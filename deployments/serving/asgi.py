"""Serve a web application on a socket that our parent has opened: ``python -m deployments.serving.asgi``."""

import argparse
import asyncio
import importlib
import socket
import sys
from collections.abc import Sequence
from typing import Any

import uvicorn

from deployments import garbage, log
from flows.errors import ConfigurationError
from flows.waiting.events import unless

LONGEST_GOODBYE = 1
"""Seconds that requests under way have to end when the server is stopped."""

KEEP_ALIVE = 75
"""Seconds for which a connection may be idle: longer than clients and proxies, which close theirs after 60 s
at the most, or a request could be on its way into a connection that we are closing."""

STOPPING = "stopping"
"""Where in the ``state`` of a request's scope is an asyncio.Event, set when the server begins to stop.

An answer that has no end of its own ends then.
"""


class Server(uvicorn.Server):
    """Tells requests that it stops: uvicorn waits for them, and its lifespan ends after them only."""

    def __init__(self, config: uvicorn.Config, *, own_process: bool = False) -> None:
        super().__init__(config)
        self._own_process = own_process
        self._stopping = asyncio.Event()
        self._leaving = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.lifespan.state[STOPPING] = self._stopping
        self.config.loaded_app = self._without_lingering(self.config.loaded_app)
        await super().startup(sockets)
        if self._own_process:
            garbage.begin()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping.set()
        asyncio.get_running_loop().call_later(LONGEST_GOODBYE / 2, self._leaving.set)
        await super().shutdown(sockets)

    def _without_lingering(self, app: Any) -> Any:
        """Return an application whose websockets end with the server, without a word.

        Prefect's look once a second whether somebody is still there: too seldom, and uvicorn would log a
        traceback of each. So it does of those that it cancels itself, which are the ones that did not heed
        the first cancellation: a library may lose it.
        """

        async def leaving(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "websocket":
                await app(scope, receive, send)
                return
            try:
                await unless(self._leaving, app(scope, receive, send))
            except asyncio.CancelledError:
                if not self._stopping.is_set():
                    raise

        return leaving


def command(factory: str, listener: socket.socket, *options: str) -> list[str]:
    """Return the command that serves ``module:factory``; ``listener`` must be passed on to it."""
    return [sys.executable, "-m", __name__, factory, str(listener.fileno()), *options]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("factory")
    parser.add_argument("descriptor", type=int)
    parser.add_argument("--log-level", default="warning")
    parser.add_argument("--access-log", action="store_true")
    parser.add_argument("--first", help="module:function to call before the application is made")
    options = parser.parse_args(arguments)
    garbage.postpone()
    config = uvicorn.Config(
        options.factory,
        factory=True,
        lifespan="on",
        log_level=options.log_level,
        access_log=options.access_log,
        timeout_graceful_shutdown=LONGEST_GOODBYE,
        timeout_keep_alive=KEEP_ALIVE,
    )
    log.to_terminal(options.log_level.upper())
    if options.first:
        module, _, function = options.first.partition(":")
        getattr(importlib.import_module(module), function)()
    try:
        Server(config, own_process=True).run(sockets=[socket.socket(fileno=options.descriptor)])
    except ConfigurationError as error:
        print(f"bartender: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
