"""A TES server for tests whose tasks are containers; see ``tes_app``."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import SecretStr

from blocks import TesCredentials
from tests.services.containers import Containers
from tests.services.daemon import Daemon
from tests.services.processes import wait_until
from tests.services.state import free_port, listens

TOKEN = "a-token"


class TesServer(Daemon):
    """On 127.0.0.1. Its containers see all that is in ``shared``, and all processes."""

    def __init__(self, directory: Path, shared: Path) -> None:
        self.port = int(free_port([]))
        self._files = directory / "tes"
        self.shared = shared / "of-containers"
        self.containers = Containers(directory)
        for place in (self._files / "tasks", self.shared):
            place.mkdir(parents=True)
        environment = {
            **self.containers.environment,
            "TES_DIR": str(self._files),
            "TES_SHARED": str(shared),
            "TES_PODMAN": " ".join(self.containers.command),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        }
        command = [sys.executable, "-m", "uvicorn", "tests.services.tes_app:app", f"--port={self.port}"]
        super().__init__(
            "tes", directory, [*command, "--log-level=warning"], lambda: listens(self.port), environment
        )
        self.token = TOKEN

    @property
    def token(self) -> str:
        """What the server takes."""
        return (self._files / "token").read_text()

    @token.setter
    def token(self, token: str) -> None:
        (self._files / "token").write_text(token)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ga4gh/tes/v1"

    def credentials(self, token: str = TOKEN) -> TesCredentials:
        return TesCredentials(url=self.url, token=SecretStr(token))

    def requests(self, beginning: str) -> list[str]:
        """Return those it got: each is method, path and query."""
        lines = (self._files / "requests").read_text().splitlines()
        return [line for line in lines if line.startswith(beginning)]

    def tasks(self) -> int:
        return len(list((self._files / "tasks").iterdir()))

    @contextmanager
    def with_file(self, name: str, content: str = "") -> Iterator[None]:
        """Have a file beside its tasks for a while; ``tes_app`` says what that does."""
        (self._files / name).write_text(content)
        try:
            yield
        finally:
            (self._files / name).unlink(missing_ok=True)

    def start_again(self) -> None:
        """Start it once it has ended by itself, which may take a moment longer than its last answer."""
        wait_until(lambda: self.pid is None, f"{self.name} has ended")
        self.start()

    @contextmanager
    def away(self) -> Iterator[None]:
        self.kill()
        try:
            yield
        finally:
            self.start()
