"""A server that outlives the process that started it, and is found again by a file in its directory."""

import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tests.services.packages import SYSTEM_PATH
from tests.services.processes import identity, same_process_lives, send, wait_until

# A process writes down who it is before it becomes the server: there never is a server that nobody knows of.
INTRODUCTION = 'cat "/proc/$$/stat" >"$0.new" && mv "$0.new" "$0" && exec "$@"'


class Daemon:
    """One server, with the faults that tests inject. Nothing here is async: from a loop, use a thread."""

    def __init__(
        self,
        name: str,
        directory: Path,
        command: Sequence[str],
        ready: Callable[[], bool],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.log = directory / f"{name}.log"
        self._stat = directory / f"{name}.process"
        self._command = command
        self._ready = ready
        self._environment = environment or {}
        self.on_start: Callable[[], None] = lambda: None
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None when it does not run."""
        if self._process is not None:
            self._process.poll()  # so that it is no zombie
        try:
            stat = self._stat.read_text()
        except FileNotFoundError:
            return None
        return identity(stat)[0] if same_process_lives(stat) else None

    @property
    def is_ready(self) -> bool:
        return self.pid is not None and self._ready()

    def start(self) -> None:
        """Return when it answers; if it runs already, wait for that only."""
        is_new = self.pid is None
        if is_new:
            self._spawn()
        wait_until(self._ready_or_dead, f"{self.name} answers, see {self.log}")
        if is_new:
            self.on_start()

    def _spawn(self) -> None:
        self._stat.unlink(missing_ok=True)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", INTRODUCTION, str(self._stat), *self._command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", **self._environment},
                start_new_session=True,
            )
        wait_until(self._stat.exists, f"{self.name} has a process")

    def _ready_or_dead(self) -> bool:
        if self.pid is None:
            last = self.log.read_text(errors="replace")[-1000:]
            raise RuntimeError(f"{self.name} ended while it started: {last}")
        return self.is_ready

    def stop(self) -> None:
        """Ask it to end; kill it if it does not within 15 s."""
        if (pid := self.pid) is None:
            return
        send([pid], signal.SIGTERM)
        self.thaw()
        try:
            wait_until(lambda: self.pid is None, f"{self.name} ends", timeout=15)
        except TimeoutError:
            self.kill()

    def kill(self) -> None:
        """SIGKILL, as a crash; returns when it is gone."""
        if (pid := self.pid) is not None:
            send([pid])
            wait_until(lambda: self.pid is None, f"{self.name} is gone")

    def freeze(self) -> None:
        """Connections to it are accepted and never answered."""
        send([pid] if (pid := self.pid) else [], signal.SIGSTOP)

    def thaw(self) -> None:
        send([pid] if (pid := self.pid) else [], signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()
