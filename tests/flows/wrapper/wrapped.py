"""Jobs that the wrapper runs, on this machine, as a container would."""

import os
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from flows.archives.compression import Plain
from flows.staging import sending
from flows.transfers import packed
from flows.wrapper.script import Wrapping, script


@dataclass
class Wrapped:
    """A job in ``directory``, which is its own; ``programs`` are all that there are over there, if given."""

    directory: Path
    shell: Sequence[str] = ("dash",)
    programs: Sequence[str] | None = None
    token: str = field(default_factory=lambda: str(uuid.uuid4()))

    def __post_init__(self) -> None:
        self.job_dir.mkdir(parents=True, exist_ok=True)
        self.over_there.mkdir(exist_ok=True)

    @property
    def job_dir(self) -> Path:
        return self.directory / "jobs/1"

    @property
    def over_there(self) -> Path:
        return self.directory / "there"

    @property
    def output(self) -> Path:
        return self.over_there / "output.tar"

    def start(self, command: str, **more: Any) -> "subprocess.Popen[bytes]":
        (self.over_there / "input.tar").write_bytes(
            b"".join(packed.pack(self.job_dir, sending.scan(self.job_dir)))
        )
        (self.over_there / "command").write_text(command)
        wrapping = Wrapping(
            token=self.token,
            work=str(self.over_there / "work"),
            commands=[str(self.over_there / "command")],
            **{"input": str(self.over_there / "input.tar"), "output": str(self.output), **more},
        )
        (self.over_there / "wrapper").write_text(script(wrapping))
        return subprocess.Popen(
            [*self.shell, str(self.over_there / "wrapper")],
            env=self._environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def _environment(self) -> Mapping[str, str]:
        if self.programs is None:
            return {**os.environ, "PATH": os.environ["PATH"]}
        programs = self.directory / "programs"
        programs.mkdir(exist_ok=True)
        for program in self.programs:
            if not (programs / program).is_symlink():
                (programs / program).symlink_to("/bin/busybox")
        return {"PATH": str(programs)}

    def run(self, command: str, **more: Any) -> tuple[int, str]:
        """Return the wrapper's exit status and what it says on standard error."""
        process = self.start(command, **more)
        try:
            _, errors = process.communicate(timeout=60)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        return process.returncode, errors.decode()

    def bring_back(self) -> None:
        with self.output.open("rb") as file:
            packed.Outputs(self.job_dir, self.token).unpack(Plain(file))
