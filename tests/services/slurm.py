"""A Slurm cluster of one node with many fake CPUs."""

import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import pytest

from tests.services import host, slurm_config
from tests.services.daemon import Daemon
from tests.services.mariadb import MariaDb, client_library
from tests.services.packages import SLURM_PACKAGES, SYSTEM_PATH, need
from tests.services.processes import (
    descendants,
    holders,
    members,
    remove_group,
    send,
    unix_sockets,
    wait_until,
)
from tests.services.release import scripts
from tests.services.slurm_config import Layout
from tests.services.state import State, listens, listens_at

FILES = ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd", "sbatch"]
FILES += ["/usr/lib/*/slurm*/accounting_storage_mysql.so", "/usr/lib/*/slurm*/auth_jwt.so"]


COMMANDS = ["sbatch", "squeue", "sacct", "scancel", "scontrol", "sinfo"]


class SlurmCluster:
    """Slurm's commands find it by ``environment``. Partitions: main, short (MaxTime 2 minutes), spare."""

    def __init__(
        self,
        state: State,
        name: str = "slurm",
        *,
        accounting: bool = True,
        options: Mapping[str, str] | None = None,
        beside: "SlurmCluster | None" = None,
    ) -> None:
        """``options`` are lines of slurm.conf, such as MinJobAge.

        The cluster ``beside``, which has to be up, shares its keys and its slurmdbd: ``-M`` finds both.
        """
        self.state = state
        self.directory = state.directory / name
        self.conf = self.directory / "slurm.conf"
        self.cgroups = slurm_config.have_cgroups()
        self.accounting = accounting
        self.beside = beside
        self._name = name
        self._options = dict(options or {})

    @property
    def environment(self) -> dict[str, str]:
        """For whoever runs Slurm's commands; nothing else is needed."""
        return {"SLURM_CONF": str(self.conf)}

    @property
    def node(self) -> str:
        return self._layout.node

    @property
    def rest_url(self) -> str:
        return f"http://127.0.0.1:{self._port('slurmrestd')}"

    def token(self, user: str | None = None) -> str:
        """A JWT for slurmrestd (header X-SLURM-USER-TOKEN), for an hour."""
        said = self.run("scontrol", "token", f"username={user or self.state.account.name}", "lifespan=3600")
        return said.strip().partition("=")[2]

    @property
    def cluster_name(self) -> str:
        """For ``-M``."""
        return self._layout.name

    @cached_property
    def version(self) -> tuple[int, int]:
        """Of Slurm, such as 22, 5."""
        year, month = self.run("sinfo", "-V").split()[1].split(".")[:2]
        return int(year), int(month)

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let commands of Slurm that this process starts find the cluster."""
        patch.setenv("SLURM_CONF", str(self.conf))
        if self.state.release:
            patch.setenv("PATH", str(self._bin), prepend=":")

    @property
    def _bin(self) -> Path:
        return self.state.directory / "bin"

    def run(self, *command: str, user: str | None = None, input: str | None = None) -> str:
        """What a command says to a script, as root or as another user; fails when the command does."""
        whose = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"] if user else []
        result = subprocess.run(
            self.state.run_by([*whose, *command]),
            env={**os.environ, "PATH": SYSTEM_PATH, **self.environment},
            cwd="/",
            input=input,
            stdin=subprocess.DEVNULL if input is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {result.stderr.strip()}")
        return result.stdout

    def succeeds(self, *command: str) -> bool:
        try:
            self.run(*command)
        except RuntimeError:
            return False
        return True

    def configure(self, **options: str) -> None:
        """Change slurm.conf while it runs, such as ``MinJobAge="2"``."""
        self._options.update(options)
        self._write_configuration()
        if self._renews_daemons:
            self.slurmctld.restart()
        else:
            self.run("scontrol", "reconfigure")

    @property
    def _renews_daemons(self) -> bool:
        """Whether a daemon that reads its configuration again is a new process then, unknown to us."""
        return self.version >= (23, 11)

    def set_partition(self, name: str, state: str) -> None:
        """UP, DOWN (jobs are accepted and wait), DRAIN or INACTIVE (refused)."""
        self.run("scontrol", "update", f"PartitionName={name}", f"State={state}")

    @cached_property
    def munged(self) -> Daemon:
        munge, socket = self.directory / "munge", self._layout.munge_socket
        command = ["munged", "--foreground", "--force", f"--key-file={munge / 'key'}", f"--socket={socket}"]
        command += [f"--pid-file={munge / 'pid'}", f"--seed-file={munge / 'seed'}"]
        return Daemon("munged", self.directory, self.state.run_by(command), lambda: listens_at(socket))

    @cached_property
    def mariadbd(self) -> MariaDb:
        return MariaDb(self.state, self.directory)

    @cached_property
    def slurmdbd(self) -> Daemon:
        database = {"MYSQL_UNIX_PORT": str(self.mariadbd.socket)}
        if library := client_library(self.state):
            database["LD_LIBRARY_PATH"] = str(library)
        return self._daemon("slurmdbd", ["slurmdbd", "-D"], lambda: listens(self._layout.slurmdbd), database)

    @cached_property
    def slurmctld(self) -> Daemon:
        answers = self._answers("scontrol", "show", "partition", "main")
        # -i: one that was killed before it had written all of its files starts nevertheless.
        daemon = self._daemon(
            "slurmctld", ["slurmctld", "-D", "-i"], lambda: listens(self._layout.slurmctld) and answers()
        )
        daemon.on_start = self._after_start_of_slurmctld
        return daemon

    @cached_property
    def slurmd(self) -> Daemon:
        command = ["slurmd", "-D", "-N", self.node]
        return self._daemon("slurmd", command, lambda: listens(self._layout.slurmd) and self._node_is_up())

    @cached_property
    def slurmrestd(self) -> Daemon:
        """It refuses to be root."""
        port = self._port("slurmrestd")
        command = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "slurmrestd"]
        command += ["-a", "rest_auth/jwt", f"127.0.0.1:{port}"]
        return self._daemon("slurmrestd", command, lambda: listens(port), {"SLURM_JWT": "daemon"})

    @property
    def daemons(self) -> list[Daemon]:
        """In the order in which they need each other."""
        if self.beside is not None:
            return [self.slurmctld, self.slurmd]
        if not self.accounting:  # without it slurmrestd does not start either
            return [self.munged, self.slurmctld, self.slurmd]
        return [self.munged, self.mariadbd, self.slurmdbd, self.slurmctld, self.slurmd, self.slurmrestd]

    @property
    def is_up(self) -> bool:
        return all(daemon.is_ready for daemon in self.daemons)

    def up(self) -> None:
        self.state.prepare()
        if self.state.release:
            self.state.release.need()
            scripts(self.state.release, self._bin, COMMANDS)
        else:
            need("Slurm", FILES, SLURM_PACKAGES)
        with self.state.locked():
            _ = self._layout, self.state.account  # before there is anything to stop
            for name in ("", "munge", "slurmctld", "slurmd"):
                (self.directory / name).mkdir(exist_ok=True)
            if self.beside is None:
                make_key(self.directory / "munge/key", 1024)
                make_key(self._layout.jwt_key, 32)
            else:
                self._register()
            self._write_configuration()
            for daemon in self.daemons:
                daemon.start()
                if daemon.name == "slurmdbd":
                    self._register()

    def down(self) -> None:
        if not self.directory.exists():
            return
        with self.state.locked():
            for daemon in self.daemons:
                daemon.thaw()
            if self.slurmctld.pid and self.slurmd.pid:
                self._end_jobs()
            for daemon in reversed(self.daemons):
                daemon.stop()
            self._kill_steps()

    @cached_property
    def _layout(self) -> Layout:
        first = self.beside or self
        return Layout(
            self.directory,
            first.directory,
            "test" if self.beside is None else self._name,
            self.state.keep("host", host.choose_name),
            slurmctld=self._port("slurmctld"),
            slurmd=self._port("slurmd"),
            slurmdbd=first._port("slurmdbd"),
            accounting=self.accounting,
        )

    def _port(self, daemon: str) -> int:
        return self.state.port(f"{self._name}-{daemon}")

    def _daemon(
        self, name: str, command: list[str], ready: Callable[[], bool], more: Mapping[str, str] | None = None
    ) -> Daemon:
        environment = {**self.environment, **(more or {})}
        command = host.run_as(self._layout.host, self.state.run_by(command))
        return Daemon(name, self.directory, command, ready, environment)

    def _answers(self, *command: str) -> Callable[[], bool]:
        return lambda: self.succeeds(*command)

    def _after_start_of_slurmctld(self) -> None:
        """It looks for its node after 10 s only. slurmdbd may have fallen when the one before was killed."""
        if (pid := self.slurmd.pid) and self._renews_daemons:
            self.slurmd.restart()
        elif pid:
            send([pid], signal.SIGHUP)
        if self.accounting and not self.beside and self.slurmdbd.pid is None:
            self.slurmdbd.start()

    def _node_is_up(self) -> bool:
        """After a crash it has to be told so."""
        state = self.run("sinfo", "-h", "-o", "%T", "-p", "main").strip()
        if state.startswith(("down", "drain")):
            self.succeeds("scontrol", "update", f"NodeName={self.node}", "State=RESUME")
        return state.startswith(("idle", "mixed", "allocated", "completing")) and not state.endswith("*")

    def _write_configuration(self) -> None:
        # As a whole: a daemon may read it at any moment, and falls over an empty one.
        new = self.conf.with_suffix(".new")
        new.write_text(slurm_config.slurm(self._layout, self._options))
        new.replace(self.conf)
        (self.directory / "cgroup.conf").write_text(slurm_config.cgroup())
        (self.directory / "gres.conf").write_text(slurm_config.gres(self._layout))
        dbd = self.directory / "slurmdbd.conf"
        dbd.touch(mode=0o600)  # slurmdbd insists
        dbd.write_text(slurm_config.slurmdbd(self._layout))

    def _register(self) -> None:
        """Under the conf of a cluster whose slurmdbd runs; it may take a moment to answer."""
        first = self.beside or self
        list_ = ("sacctmgr", "-nP", "list", "cluster", "format=cluster")
        wait_until(lambda: first.succeeds(*list_), "slurmdbd answers")
        if self._layout.name not in first.run(*list_).split():
            first.run("sacctmgr", "-iQ", "add", "cluster", self._layout.name)

    def _end_jobs(self) -> None:
        def ended() -> bool:
            self.succeeds("scancel", "-p", "main,short,spare")
            return not self.succeeds("squeue", "-h") or not self.run("squeue", "-h")

        try:
            wait_until(ended, "jobs are cancelled", timeout=20)
        except TimeoutError:
            return  # what is left is killed

    def _kill_steps(self) -> None:
        """What slurmd started outlives it; each step has a socket in its directory."""

        def ended() -> bool:
            steps = holders(unix_sockets(self.directory / "slurmd"))
            groups = list(Path("/sys/fs/cgroup").glob(f"*/slurm_{self.node}"))
            found = steps.union(*map(descendants, steps), *map(members, groups))
            send(found)
            return not found and all(map(remove_group, groups))

        wait_until(ended, f"steps of {self.node} end")


def make_key(path: Path, size: int) -> None:
    if not path.exists():
        new = path.with_suffix(".new")
        new.touch(mode=0o600)
        new.write_bytes(secrets.token_bytes(size))
        new.replace(path)
