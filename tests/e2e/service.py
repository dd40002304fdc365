"""A whole server, started as an operator does, and what tests do to it."""

import asyncio
import fcntl
import io
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, ClassVar, Self

import httpx

from api.tokens.signing import generate_key_pair, generate_token
from deployments.serving import launcher
from deployments.serving.supervisor import environment_of_running
from tests.e2e.first_start import FirstStart
from tests.waiting import LONG_ENOUGH

CONFIG = """
applications:
  wc:
    command_template: wc README.md
    upload_needs: [README.md]
  script:
    command_template: sh script.sh
    upload_needs: [script.sh]
  alone: {command_template: exec sh script.sh}
destinations:
  local:
    scheduler: {type: memory, slots: 50}
    filesystem: {type: local}
"""

# More destinations, and a picker of the operator's own beside the configuration file.
MORE_DESTINATIONS = (
    CONFIG
    + """
  quick:
    scheduler: {type: eager, max_load: 1000, timeout: 20}
    filesystem: {type: local}
  single:
    scheduler: {type: memory, slots: 1}
    filesystem: {type: local}
  lab:
    scheduler: {type: pilot}
    filesystem: {type: local}
  far:
    scheduler: {type: pilot}
    filesystem: {type: http}
destination_picker: picker.py:by_file
"""
)
PICKER = """
def by_file(job_dir, application_name, submitter, context):
    if (job_dir / "unpickable").exists() and not (job_dir.parent.parent / "mended").exists():
        raise LookupError("not mended")
    return next((name for name in ("quick", "single", "lab", "far") if (job_dir / name).exists()), "local")
"""

CHECKOUT = Path(__file__).parents[2]

PARTS = {
    "api": "api.app:create_app",
    "worker": "api worker",
    "prefect": "deployments.serving.prefect_process:prepare",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until(condition: Callable[[], Awaitable[Any]], seconds: float = 180) -> Any:
    """Wait for something true and return it."""
    async with asyncio.timeout(seconds):
        while not (value := await condition()):
            await asyncio.sleep(0.05)
        return value


A_START = 600.0
"""Seconds that a whole server may take: over a minute where the machine has five times the work it can do."""

STARTS_AT_ONCE = 2


@asynccontextmanager
async def turn_to_start() -> AsyncIterator[None]:
    """Wait until few other servers start, in whichever process of the tests: together they take longer."""
    locks = [
        Path(tempfile.gettempdir(), f"bartender-tests-{os.geteuid()}-start-{n}")
        for n in range(STARTS_AT_ONCE)
    ]
    for attempt in itertools.count():
        with locks[attempt % STARTS_AT_ONCE].open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                await asyncio.sleep(0.05)
                continue
            yield
            return


async def written(*files: Path) -> None:
    """Wait until files are there and end with a line's end."""

    async def are_written() -> bool:
        return all(file.exists() and file.read_text().endswith("\n") for file in files)

    await until(are_written)


async def appears(path: Path) -> None:
    """Wait until something is there."""

    async def is_there() -> bool:
        return path.exists()

    await until(is_there)


class Service:
    """``bartender serve`` in a directory of its own. ``starter`` is a command that starts it."""

    python = sys.executable
    first_start: ClassVar[FirstStart | None] = None
    """Set for a run of tests."""

    def __init__(self, directory: Path, config: str = CONFIG, *, starter: Sequence[str] = ()) -> None:
        self._starter = starter
        self.from_nothing = False
        self.directory = directory
        self.data_dir = directory / "data"
        (directory / "config.yaml").write_text(config)
        generate_key_pair(directory / "private_key.pem", directory / "public_key.pem")
        self.url = f"http://127.0.0.1:{free_port()}"
        self._prefect_port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.client = self.client_of("visitor")

    def client_of(self, username: str, *, timeout: float = 60) -> httpx.AsyncClient:
        token = generate_token(self.directory / "private_key.pem", username, [], 60, "tests")
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.AsyncClient(base_url=self.url, headers=headers, timeout=timeout)

    def operators_environment(self) -> dict[str, str]:
        """The variables of the shell that commands are started from."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return environment | {
            "BARTENDER_PORT": self.url.rpartition(":")[2],
            "BARTENDER_PREFECT_PORT": str(self._prefect_port),
            "BARTENDER_DATA_DIR": str(self.data_dir),
        }

    def command(self, *arguments: str, **variables: str) -> subprocess.Popen[bytes]:
        """Start a ``bartender`` command as an operator does beside the server; its output must be read."""
        return subprocess.Popen(
            [self.python, "-m", "api", *arguments],
            cwd=self.directory,
            env={**self.operators_environment(), **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def worker(self, name: str = "worker", **variables: str) -> subprocess.Popen[bytes]:
        """Start a worker as an operator does beside the server."""
        return self.module("api", "worker", variables={"BARTENDER_WORKER_NAME": name, **variables})

    def module(
        self,
        *arguments: str,
        variables: Mapping[str, str],
        starter: Sequence[str] = (),
        pass_fds: Sequence[int] = (),
    ) -> subprocess.Popen[bytes]:
        """Run a module, of the tests or the product; it writes into the server's log.

        It ends with this process, however that ends, and what it started with it.
        """
        command = [*starter, self.python, "-m", *arguments]
        command[0] = shutil.which(command[0]) or command[0]
        with (self.directory / "log").open("ab") as log:
            return subprocess.Popen(
                launcher.wrap(command, death_signal=signal.SIGKILL),
                cwd=self.directory,
                env={**self.operators_environment(), **variables},
                stdout=log,
                stderr=log,
                pass_fds=pass_fds,
            )

    async def start(self, *options: str, **variables: str) -> Self:
        """Return once it serves. It is ended when that fails; the log is with the error then."""
        async with turn_to_start():
            if self.first_start and not self.from_nothing and not (self.data_dir / "postgres").exists():
                await self.first_start.give(self.data_dir)
            self._process = self.module("api", "serve", *options, variables=variables, starter=self._starter)
            try:
                await until(self._is_ready, A_START)
            except BaseException as error:
                await self.stop(signal.SIGKILL)  # what it started ends with it
                error.add_note(f"The log of the server:\n{self.log()}")
                raise
        return self

    async def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server does not start: {self.log()}")
        return environment_of_running(self.data_dir) is not None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def environment(self) -> dict[str, str]:
        """What other processes need to reach the embedded parts."""
        environment = environment_of_running(self.data_dir)
        assert environment is not None
        return environment

    def log(self) -> str:
        return (self.directory / "log").read_text()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End the server. One that does not end is killed, and fails the test."""
        if (process := self._process) is None:
            return
        self._process = None
        process.send_signal(number)
        try:
            await asyncio.to_thread(process.wait, LONG_ENOUGH)
        finally:
            process.kill()  # what it started ends with it

    def processes(self) -> dict[int, str]:
        """Return pid and command line of the server and all it started."""
        assert self._process is not None
        return descendants(self._process.pid)

    def pid_of(self, part: str) -> int | None:
        found = [pid for pid, command in self.processes().items() if PARTS[part] in command]
        return found[0] if found else None

    async def kill(self, part: str, number: signal.Signals = signal.SIGKILL) -> None:
        pid = self.pid_of(part)
        assert pid is not None
        os.kill(pid, number)
        if number == signal.SIGKILL:
            await until(lambda: _is_other(self, part, pid))

    @staticmethod
    def archive(files: Mapping[str, str | bytes]) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for name, entry in files.items():
                archive.writestr(name, entry)
        return content.getvalue()

    async def submit(self, files: dict[str, str], application: str = "script") -> int:
        return await self.submit_archive(self.archive(files), application)

    async def submit_archive(self, content: bytes, application: str = "script") -> int:
        response = await self.client.put(
            f"/api/application/{application}/job",
            content=content,
            headers={"Content-Type": "application/zip"},
        )
        assert response.status_code == 303, response.text
        return int(response.headers["Location"].rpartition("/")[2])

    async def run(self, script: str) -> int:
        return await self.submit({"script.sh": script})

    async def job(self, job_id: int) -> dict[str, Any]:
        response = await self.client.get(f"/api/job/{job_id}")
        response.raise_for_status()
        return dict(response.json())

    async def state_is(self, job_id: int, *states: str, seconds: float = 180) -> dict[str, Any]:
        """Wait until the job is in one of the states."""

        job: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal job
            job = await self.job(job_id)
            return job["state"] in states

        try:
            await until(look, seconds)
        except TimeoutError:
            raise AssertionError(f"not {states} within {seconds} s: {job}") from None
        return job

    async def reason_of(self, job_id: int, words: str) -> str:
        """Wait until a job says why it does not get on, with these words."""
        reason = ""

        async def look() -> bool:
            nonlocal reason
            reason = (await self.job(job_id))["reason"] or ""
            return words in reason

        await until(look)
        return reason

    async def ended(self, job_id: int) -> dict[str, Any]:
        return await self.state_is(job_id, "ok", "error")

    def job_dir(self, job_id: int) -> Path:
        return self.data_dir / "jobs" / str(job_id)


async def _is_other(service: Service, part: str, pid: int) -> bool:
    return service.pid_of(part) not in (None, pid)


def descendants(pid: int) -> dict[int, str]:
    """Return pid and command line of a process and all below it."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return {}
    found = {pid: command}
    for child in children:
        found |= descendants(int(child))
    return found
