"""Redis, which several Prefect servers need for their messages."""

import socket
from pathlib import Path

from tests.services.daemon import Daemon
from tests.services.packages import need


class RedisServer(Daemon):
    """Keeps nothing on the disk. Raises Missing where it is not installed and cannot be."""

    def __init__(self, directory: Path, address: str, port: int) -> None:
        need("Redis", ["redis-server"], ["redis-server"])
        directory.mkdir(exist_ok=True)
        self.url = f"redis://{address}:{port}/0"
        self._there = (address, port)
        command = ["redis-server", "--bind", address, "--port", str(port), "--dir", str(directory)]
        command += ["--save", "", "--protected-mode", "no"]
        super().__init__("redis", directory, command, self._answers)

    def _answers(self) -> bool:
        try:
            with socket.create_connection(self._there, timeout=5) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False
