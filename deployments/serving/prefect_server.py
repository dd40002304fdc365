"""A Prefect server of our own, for where no PREFECT_API_URL is set."""

import os
import secrets
import signal
import socket
from pathlib import Path

from deployments.serving import asgi
from deployments.serving.listening import answers, base_url
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.processes import Child
from flows.disk import private_files

DATABASE = "prefect"
FACTORY = "prefect.server.api.server:create_app"
WITH_ROUTE = "deployments.recording.route.server:create_app"
START_SECONDS = 120.0
STOP_SECONDS = 1.5

# What an operator sets wins over these. Their effects: docs/performance.md.
TUNING = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    # The default pool of 5 opens connections anew all the time, each of which looks up all types.
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "30",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "10",
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P7D",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    # Flow runs are removed by flows/clean_up.py; what it leaves of them, by the server itself.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    # One by one: of a batch, nothing is kept where one flow run was deleted. What fails is tried again.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
    "PREFECT_SERVER_UI_API_URL": "/api",  # relative: the UI also works through a tunnel or proxy
}
# What says where another server is, or who we are to it, must not reach this one.
_NOT_INHERITED = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE")


class EmbeddedPrefect:
    """A Prefect server with a database of its own in ``postgres``, which must run before it is started.

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
        self._factory = WITH_ROUTE if with_route else FACTORY
        self._directory = directory
        self._postgres = postgres
        self._listener = listener
        self._log = log
        self._child: Child | None = None

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

    @property
    def pid(self) -> int | None:
        """The process that runs now, if any."""
        return self._child.pid if self._child is not None else None

    async def start(self) -> None:
        """Start the server without waiting for it: who connects waits."""
        private_files.make_directory(self._directory)
        await self._postgres.create_database(DATABASE)
        self._child = Child(
            "The Prefect server",
            asgi.command(self._factory, self._listener),
            environment=self._server_environment(),
            stop_signals=((signal.SIGTERM, STOP_SECONDS),),
            pass_fds=[self._listener.fileno()],
            log=self._log,
        )
        await self._child.start()

    async def wait_until_ready(self) -> None:
        """Return when the server answers; ConfigurationError when it does not start."""
        assert self._child is not None  # noqa: S101 - start comes first
        login = self._login()
        await self._child.wait_until(
            lambda: answers(self._listener, "/api/admin/version", login=login), seconds=START_SECONDS
        )

    async def stop(self) -> None:
        """End it; harmless when it does not run."""
        if self._child is not None:
            await self._child.stop()

    def client_environment(self) -> dict[str, str]:
        """Return the variables that processes of ours need to reach it."""
        return {
            "PREFECT_API_URL": self.api_url,
            "PREFECT_API_AUTH_STRING": self._login(),
            "PREFECT_HOME": str(self._directory),
        }

    def _server_environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in _NOT_INHERITED and not name.startswith("BARTENDER_")
        }
        host, port = self._listener.getsockname()[:2]
        database = self._postgres.url(DATABASE).render_as_string(hide_password=False)
        return {
            **TUNING,
            **inherited,
            "PREFECT_HOME": str(self._directory),
            "PREFECT_API_DATABASE_CONNECTION_URL": database,
            "PREFECT_SERVER_API_HOST": host,
            "PREFECT_SERVER_API_PORT": str(port),
            "PREFECT_SERVER_API_AUTH_STRING": self._login(),
            "PREFECT__SERVER_FINAL": "1",  # as `prefect server start` does: frees what only a next app needs
        }

    def _login(self) -> str:
        if configured := os.environ.get("PREFECT_SERVER_API_AUTH_STRING"):
            return configured
        if not self.login_file.exists():
            private_files.make_directory(self._directory)
            private_files.write(self.login_file, f"bartender:{secrets.token_urlsafe(32)}")
        return self.login_file.read_text(encoding="ascii")
