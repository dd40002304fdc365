"""A Slurm cluster of one node with many fake CPUs."""

import os
import secrets
import signal
import subprocess
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

from tests.services import host, slurm_config
from tests.services.daemon import Daemon
from tests.services.mariadb import MariaDb
from tests.services.packages import SYSTEM_PATH, need
from tests.services.processes import (
    descendants,
    holders,
    members,
    remove_group,
    send,
    unix_sockets,
    wait_until,
)
from tests.services.slurm_config import Layout
from tests.services.state import State, listens, listens_at

PACKAGES = ["slurmctld", "slurmd", "slurm-client", "slurmdbd", "slurmrestd", "munge", "mariadb-server-core"]
PACKAGES += ["slurm-wlm-mysql-plugin", "slurm-wlm-jwt-plugin"]
FILES = ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd", "sbatch"]
FILES += ["/usr/lib/*/slurm*/accounting_storage_mysql.so", "/usr/lib/*/slurm*/auth_jwt.so"]


class SlurmCluster:
    """Slurm's commands find it by ``environment``. Partitions: main, short (MaxTime 2 minutes), spare."""

    def __init__(
        self,
        state: State,
        name: str = "slurm",
        *,
        accounting: bool = True,
        options: Mapping[str, str] | None = None,
    ) -> None:
        """``options`` are lines of slurm.conf, such as MinJobAge."""
        self.state = state
        self.directory = state.directory / name
        self.conf = self.directory / "slurm.conf"
        self.cgroups = slurm_config.have_cgroups()
        self.accounting = accounting
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

    def run(self, *command: str, user: str | None = None, input: str | None = None) -> str:
        """What a command says to a script, as root or as another user; fails when the command does."""
        result = subprocess.run(
            command,
            env={**os.environ, "PATH": SYSTEM_PATH, **self.environment},
            cwd="/",
            user=user,
            group=user,
            extra_groups=[] if user else None,
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
        self.run("scontrol", "reconfigure")

    def set_partition(self, name: str, state: str) -> None:
        """UP, DOWN (jobs are accepted and wait), DRAIN or INACTIVE (refused)."""
        self.run("scontrol", "update", f"PartitionName={name}", f"State={state}")

    @cached_property
    def munged(self) -> Daemon:
        munge, socket = self.directory / "munge", self._layout.munge_socket
        command = ["munged", "--foreground", "--force", f"--key-file={munge / 'key'}", f"--socket={socket}"]
        command += [f"--pid-file={munge / 'pid'}", f"--seed-file={munge / 'seed'}"]
        return Daemon("munged", self.directory, command, lambda: listens_at(socket))

    @cached_property
    def mariadbd(self) -> MariaDb:
        return MariaDb(self.directory)

    @cached_property
    def slurmdbd(self) -> Daemon:
        database = {"MYSQL_UNIX_PORT": str(self.mariadbd.socket)}
        return self._daemon(
            "slurmdbd", ["slurmdbd", "-D"], self._answers("sacctmgr", "-n", "list", "cluster"), database
        )

    @cached_property
    def slurmctld(self) -> Daemon:
        answers = self._answers("scontrol", "show", "partition", "main")
        daemon = self._daemon(
            "slurmctld", ["slurmctld", "-D"], lambda: listens(self._layout.slurmctld) and answers()
        )
        daemon.on_start = self._announce_node
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
        if not self.accounting:  # without it slurmrestd does not start either
            return [self.munged, self.slurmctld, self.slurmd]
        return [self.munged, self.mariadbd, self.slurmdbd, self.slurmctld, self.slurmd, self.slurmrestd]

    @property
    def is_up(self) -> bool:
        return all(daemon.is_ready for daemon in self.daemons)

    def up(self) -> None:
        need("Slurm", FILES, PACKAGES)
        self.state.prepare()
        with self.state.locked():
            _ = self._layout, self.state.account  # before there is anything to stop
            for name in ("", "munge", "slurmctld", "slurmd"):
                (self.directory / name).mkdir(exist_ok=True)
            make_key(self.directory / "munge/key", 1024)
            make_key(self._layout.jwt_key, 32)
            self._write_configuration()
            for daemon in self.daemons:
                daemon.start()
                if daemon is self.slurmdbd:
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
        return Layout(
            self.directory,
            self.state.keep("host", host.choose_name),
            slurmctld=self._port("slurmctld"),
            slurmd=self._port("slurmd"),
            slurmdbd=self._port("slurmdbd"),
            accounting=self.accounting,
        )

    def _port(self, daemon: str) -> int:
        return self.state.port(f"{self._name}-{daemon}")

    def _daemon(
        self, name: str, command: list[str], ready: Callable[[], bool], more: Mapping[str, str] | None = None
    ) -> Daemon:
        environment = {**self.environment, **(more or {})}
        return Daemon(name, self.directory, host.run_as(self._layout.host, command), ready, environment)

    def _answers(self, *command: str) -> Callable[[], bool]:
        return lambda: self.succeeds(*command)

    def _announce_node(self) -> None:
        """A slurmctld that was started looks for its node after 10 s only."""
        send([pid] if (pid := self.slurmd.pid) else [], signal.SIGHUP)

    def _node_is_up(self) -> bool:
        """After a crash it has to be told so."""
        state = self.run("sinfo", "-h", "-o", "%T", "-p", "main").strip()
        if state.startswith(("down", "drain")):
            self.succeeds("scontrol", "update", f"NodeName={self.node}", "State=RESUME")
        return state.startswith(("idle", "mixed", "allocated", "completing")) and not state.endswith("*")

    def _write_configuration(self) -> None:
        self.conf.write_text(slurm_config.slurm(self._layout, self._options))
        (self.directory / "cgroup.conf").write_text(slurm_config.cgroup())
        dbd = self.directory / "slurmdbd.conf"
        dbd.touch(mode=0o600)  # slurmdbd insists
        dbd.write_text(slurm_config.slurmdbd(self._layout))

    def _register(self) -> None:
        if not self.run("sacctmgr", "-nP", "list", "cluster", "format=cluster").strip():
            self.run("sacctmgr", "-iQ", "add", "cluster", "test")

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
