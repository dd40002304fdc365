"""The service on several hosts: what each runs, one address for all that answer visitors, and a visitor."""

import abc
import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Self

from api.tokens.signing import generate_key_pair
from deployments import migrations
from tests.hosts.network import Host, Network
from tests.hosts.postgres import ReachablePostgres
from tests.services.redis import RedisServer

PORT = 8000
PREFECT_PORT = 4200
_REDIS_PORT = 6379
LOGIN = ("operator", "of-these-tests")
_CONFIG = """
applications:
  script: {{command_template: sh script.sh, upload_needs: [script.sh]}}
destinations:
  local:
    scheduler: {{type: memory, slots: 20}}
    filesystem: {{type: local}}
  pilots:
    scheduler: {{type: pilot, work_pool: pilots}}
    filesystem: {{type: local}}
destination_picker: flows.pickers:pick_round
job_root_dir: {jobs}
"""


class Disk:
    """What all hosts share, below one directory; each host that answers visitors has a data directory too."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.jobs = directory / "jobs"
        self.data_dir = directory / "data"
        (self.data_dir / "uploads").mkdir(parents=True)
        self.jobs.mkdir()
        (directory / "config.yaml").write_text(_CONFIG.format(jobs=self.jobs))
        generate_key_pair(directory / "private_key.pem", directory / "public_key.pem")

    def of(self, name: str) -> Path:
        data_dir = self.directory / name
        data_dir.mkdir()
        (data_dir / "uploads").symlink_to(self.data_dir / "uploads")
        return data_dir


class SharedServers:
    """The database and Redis, on this machine, which is not cut off. ``url`` is that of a database there."""

    def __init__(self, network: Network, directory: Path) -> None:
        self._postgres = ReachablePostgres(directory / "postgres", network.address)
        self._redis = RedisServer(directory / "redis", network.address, _REDIS_PORT)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Run them; the tables of jobs are made by then."""
        try:
            await self._postgres.start()
            await self._postgres.create_database("prefect")
            await self._postgres.create_database("jobs")
            await migrations.upgrade(self._postgres.url("jobs"))
            await asyncio.to_thread(self._redis.start)
            yield self
        finally:
            await asyncio.to_thread(self._redis.stop)
            await self._postgres.stop()

    def url(self, database: str) -> str:
        return self._postgres.url(database).render_as_string(hide_password=False)

    def for_prefect(self) -> dict[str, str]:
        """Return what Prefect servers need to know."""
        return {
            "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.url("prefect"),
            "PREFECT_SERVER_API_AUTH_STRING": ":".join(LOGIN),
            "BARTENDER_REDIS_URL": self._redis.url,
        }

    def for_jobs(self, prefect: str) -> dict[str, str]:
        """Return what hosts that answer visitors or run jobs need to know. ``prefect``: its address."""
        return {
            "BARTENDER_DB_DSN": self.url("jobs"),
            "PREFECT_API_URL": f"{prefect}/api",
            "PREFECT_API_AUTH_STRING": ":".join(LOGIN),
        }


class Part(abc.ABC):
    """What runs on one host; it may be started again after its end."""

    def __init__(self, name: str, host: Host, disk: Disk, environment: Mapping[str, str]) -> None:
        self.name = name
        self.host = host
        self._disk = disk
        self._environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("PREFECT_")},
            **environment,
        }
        self._process: subprocess.Popen[bytes] | None = None

    @abc.abstractmethod
    def start(self) -> None: ...

    def _start(self, *arguments: str, **variables: str) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.host.enter, sys.executable, "-m", "api", *arguments],
                cwd=self._disk.directory,
                env={**self._environment, **variables},
                stdout=log,
                stderr=log,
            )

    @property
    def log(self) -> Path:
        return self._disk.directory / f"{self.name}.log"

    def end(self) -> None:
        """End it as with its host: at once."""
        self.host.end()
        if self._process is not None:
            self._process.wait()


class Worker(Part):
    def start(self) -> None:
        data_dir = str(self._disk.data_dir)
        self._start("worker", BARTENDER_WORKER_NAME=self.name, BARTENDER_DATA_DIR=data_dir)


class Api(Part):
    def __init__(self, name: str, host: Host, disk: Disk, environment: Mapping[str, str]) -> None:
        super().__init__(name, host, disk, environment)
        self._data_dir = disk.of(name)

    def start(self) -> None:
        self._start(
            "serve",
            "--no-worker",
            BARTENDER_HOST=self.host.address,
            BARTENDER_PORT=str(PORT),
            BARTENDER_DATA_DIR=str(self._data_dir),
        )


class Prefect(Part):
    """A Prefect server with the route, one of several."""

    def start(self) -> None:
        home = self._disk.directory / self.name
        self._start(
            "prefect-server", "--host", self.host.address, "--port", str(PREFECT_PORT), PREFECT_HOME=str(home)
        )


class Pilot(Part):
    """Runs the commands of every other job."""

    def start(self) -> None:
        data_dir = str(self._disk.directory / self.name)
        options = ["--work-pool", "pilots", "--max-jobs", "20", "--name", self.name]
        self._start("perform", *options, "--directory", data_dir)


class OneAddress:
    """Passes each connection on to the first host that takes it, beginning with another one each time."""

    CONNECT_SECONDS = 1.0

    def __init__(self, network: Network, hosts: Sequence[Host], port: int) -> None:
        self._address = network.address
        self._hosts = list(hosts)
        self._port = port
        self._tasks: set[asyncio.Task[None]] = set()
        self.url = ""

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["OneAddress"]:
        server = await asyncio.start_server(self._connected, self._address, 0)
        self.url = f"http://{self._address}:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there_reader, there_writer = await self._connect()
        except OSError:
            writer.transport.abort()
            return
        try:
            both = [_pass(reader, there_writer), _pass(there_reader, writer)]
            await asyncio.wait(map(asyncio.create_task, both), return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in (writer, there_writer):
                one.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        for _ in self._hosts:
            self._hosts.append(self._hosts.pop(0))
            with suppress(OSError):
                async with asyncio.timeout(self.CONNECT_SECONDS):
                    return await asyncio.open_connection(self._hosts[0].address, self._port)
        raise ConnectionError("no host answers")


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
