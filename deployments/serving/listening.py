"""Listening sockets that outlive the servers behind them.

The supervisor opens them and its children inherit them: a port in use is found before anything is started,
it cannot be lost while a server is started again, and who connects meanwhile waits instead of being refused.
"""

import asyncio
import base64
import ipaddress
import socket

from flows.errors import ConfigurationError
from flows.waiting import vanishing

BACKLOG = 2048
PROBE_SECONDS = 5.0


def listen(host: str, port: int, variable: str) -> socket.socket:
    """Return a socket that listens; ConfigurationError naming ``variable`` when that cannot be."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            vanishing.notice(listener)  # else who follows a job and vanishes is sent its events for ever
            listener.bind(address)
            listener.listen(BACKLOG)
        except BaseException:
            listener.close()
            raise
    except OSError as error:
        raise ConfigurationError(
            f"environment: cannot listen on {host}:{port} ({error.strerror}); "
            f"stop what uses it or set {variable} to another port"
        ) from error
    return listener


def base_url(listener: socket.socket) -> str:
    """Return the URL by which this machine reaches what listens there."""
    host, port = _reachable(listener)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def answers(listener: socket.socket, path: str, *, login: str | None = None) -> bool:
    """Whether ``GET path`` is answered 200; ``login`` is ``user:password``."""
    try:
        async with asyncio.timeout(PROBE_SECONDS):
            return b" 200 " in await _status_line(listener, path, login)
    except (OSError, ValueError):
        return False


async def _status_line(listener: socket.socket, path: str, login: str | None) -> bytes:
    host, port = _reachable(listener)
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}:{port}", "Connection: close"]
    if login is not None:
        lines.append(f"Authorization: Basic {base64.b64encode(login.encode()).decode()}")
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write("\r\n".join([*lines, "", ""]).encode())
        return await reader.readline()
    finally:
        writer.close()


def _reachable(listener: socket.socket) -> tuple[str, int]:
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    return host, port
