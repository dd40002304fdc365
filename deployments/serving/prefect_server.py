"""A Prefect server of our own, for where no PREFECT_API_URL is set."""

import os
import secrets
import signal
import socket
from importlib import metadata
from pathlib import Path

from deployments.serving import asgi, tuning
from deployments.serving.listening import answers, base_url
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.processes import Child
from flows.disk import private_files

DATABASE = "prefect"
FACTORY = "prefect.server.api.server:create_app"
WITH_ROUTE = "deployments.recording.route.server:create_app"
PREPARE = "deployments.serving.prefect_process:prepare"
START_SECONDS = 120.0
STOP_SECONDS = 1.5


class EmbeddedPrefect:
    """A Prefect server with a database of its own in ``postgres``, which must have an address by now.

    Whoever cannot read the login in ``directory`` is refused by its API. ``listener`` stays the caller's.
    ``with_route``: whether it also takes what workers tell by the route of ``deployments.recording``.
    """

    def __init__(
        self,
        directory: Path,
        postgres: EmbeddedPostgres,
        listener: socket.socket,
        *,
        log: Path | None = None,
        with_route: bool = True,
    ) -> None:
        self._directory = directory
        self._postgres = postgres
        self._listener = listener
        self._is_ready = False
        private_files.make_directory(directory)
        self.child = Child(
            "The Prefect server",
            asgi.command(WITH_ROUTE if with_route else FACTORY, self._listener, f"--first={PREPARE}"),
            environment=self._server_environment(),
            stop_signals=((signal.SIGTERM, STOP_SECONDS),),
            pass_fds=[self._listener.fileno()],
            log=log,
        )

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"{base_url(self._listener)}/api"

    @property
    def ui_url(self) -> str:
        """Where the UI is; it asks for the login."""
        return base_url(self._listener)

    @property
    def login_file(self) -> Path:
        """The file that holds ``user:password``."""
        return self._directory / "login"

    async def make_database(self) -> bool:
        """See to it that there is a database before the server is started.

        Returns whether the server will make or change tables: whoever stops it then may leave them half made.
        """
        is_new = await self._postgres.create_database(DATABASE, tuning.IDLE_CONNECTIONS)
        return is_new or not self._version.exists() or self._version.read_text() != _installed()

    async def start(self) -> None:
        """Start the server without waiting for it: who connects waits."""
        await self.make_database()
        await self.child.start()

    async def wait_until_ready(self) -> None:
        """Return when the server answers; ConfigurationError when it does not start."""
        login = self._login()
        await self.child.wait_until(
            lambda: answers(self._listener, "/api/admin/version", login=login), seconds=START_SECONDS
        )
        self._is_ready = True
        private_files.write(self._version, _installed())

    async def stop(self) -> None:
        """End it; harmless when it does not run. One that is still starting does not listen to reason."""
        await self.child.stop(at_once=not self._is_ready)

    @property
    def _version(self) -> Path:
        """The file that holds the version that the tables are of."""
        return self._directory / "version"

    def client_environment(self) -> dict[str, str]:
        """Return the variables that processes of ours need to reach it."""
        return {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": self._login(),
            "PREFECT_HOME": str(self._directory),
        }

    def _server_environment(self) -> dict[str, str]:
        host, port = self._listener.getsockname()[:2]
        database = self._postgres.url(DATABASE).render_as_string(hide_password=False)
        return {
            **tuning.environment(),
            "PREFECT_HOME": str(self._directory),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_HOST": host,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_API_AUTH_STRING": self._login(),
        }

    def _login(self) -> str:
        if configured := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
            return configured
        return private_files.kept(self.login_file, lambda: f"bartender:{secrets.token_urlsafe(32)}")


def _installed() -> str:
    return metadata.version("prefect")
