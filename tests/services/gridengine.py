"""Grid Engine of one host, in a network of its own: it refuses hosts that are on loopback."""

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path

import pytest

from tests.services.daemon import Daemon
from tests.services.packages import SYSTEM_PATH, need
from tests.services.processes import pids, send, wait_until
from tests.services.release import Release
from tests.services.state import State

RELEASE = Release("bookworm", "gridengine", ("gridengine-master", "gridengine-exec", "gridengine-client"))
"""The last of Debian's that has it."""

COMMANDS = ["qsub", "qstat", "qacct", "qdel", "qconf"]
SHARED = "passwd group shadow"
HOST, ADDRESS = "node1", "10.77.0.1"

_NETWORK = f"hostname {HOST} && ip link set lo up && ip addr add {ADDRESS}/32 dev lo && exec sleep infinity"

_HOST = "".join(
    f"{key} NONE\n"
    for key in ("load_scaling", "complex_values", "user_lists", "xuser_lists", "projects", "xprojects")
)
_PARALLEL = """pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary FALSE
qsort_args NONE
"""
_QUEUE = {"qname": "main.q", "hostlist": HOST, "slots": "64", "pe_list": "smp", "load_thresholds": "NONE"}
# As fast as it can be.
_SCHEDULING = {
    "schedule_interval": "0:0:1",
    "flush_submit_sec": "1",
    "flush_finish_sec": "1",
    "job_load_adjustments": "NONE",
}


class GridEngine:
    """Its commands find it once ``use`` was called. Anybody may submit, root too."""

    def __init__(self, state: State) -> None:
        self.state = state
        self.directory = state.directory / "gridengine"
        self.root = self.directory / "root"
        self._cell = self.root / "default"

    @property
    def environment(self) -> dict[str, str]:
        return {
            "SGE_ROOT": str(self.root),
            "SGE_CELL": "default",
            "SGE_QMASTER_PORT": "6444",
            "SGE_EXECD_PORT": "6445",
        }

    def use(self, patch: pytest.MonkeyPatch) -> None:
        """Let commands that this process starts find it."""
        for name, value in self.environment.items():
            patch.setenv(name, value)
        patch.setenv("PATH", str(self.directory / "bin"), prepend=":")

    def run(self, *command: str) -> str:
        """What a command says, as root; fails when the command does."""
        result = self._run(*command)
        if result.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed: {result.stderr.strip()} {result.stdout.strip()}")
        return result.stdout

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self._inside([*command]),
            env={"PATH": SYSTEM_PATH, "HOME": "/root", **self.environment},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )

    def _inside(self, command: list[str]) -> list[str]:
        enter = ["nsenter", f"--target={self.network.pid}", "--net", "--uts"]
        return [*enter, *RELEASE.inside(command, SHARED)]

    @cached_property
    def network(self) -> Daemon:
        command = ["unshare", "--net", "--uts", "sh", "-c", _NETWORK]
        return Daemon("network", self.directory, command, self._has_network)

    def _has_network(self) -> bool:
        return Path(f"/proc/{self.network.pid}/cmdline").read_bytes().startswith(b"sleep")

    @cached_property
    def qmaster(self) -> Daemon:
        return self._daemon("sge_qmaster", lambda: self._run("qconf", "-sh").returncode == 0)

    @cached_property
    def execd(self) -> Daemon:
        return self._daemon("sge_execd", lambda: re.search(r"lx-amd64 *\n", self._queues()) is not None)

    def _queues(self) -> str:
        return self._run("qstat", "-f").stdout

    def _daemon(self, name: str, ready: Callable[[], bool]) -> Daemon:
        inherited = {name: "" for name in os.environ if name.startswith(("BARTENDER", "PREFECT"))}
        # What it is given, jobs see. It stays in the foreground.
        environment = {**inherited, **self.environment, "SGE_ND": "1"}
        return Daemon(name, self.directory, self._inside([f"/usr/sbin/{name}"]), ready, environment)

    @property
    def daemons(self) -> list[Daemon]:
        return [self.network, self.qmaster, self.execd]

    @property
    def is_up(self) -> bool:
        return all(daemon.is_ready for daemon in self.daemons)

    def up(self) -> None:
        need("Grid Engine", ["nsenter", "unshare", "ip"], ["util-linux", "iproute2"])
        self.state.prepare()
        RELEASE.need()
        with self.state.locked():
            is_new = not self.root.exists()
            if is_new:
                self._make()
            RELEASE.path("/etc/hosts").write_text(f"127.0.0.1 localhost\n{ADDRESS} {HOST}\n")
            self.network.start()
            if is_new:
                self._initialize()
            self.qmaster.start()
            self._write_commands()
            if is_new:
                self._configure()
            self.execd.start()

    def _make(self) -> None:
        self.directory.mkdir()
        for name in ("common", "spool/qmaster"):
            (self._cell / name).mkdir(parents=True)
        for name in ("bin", "lib", "util", "utilbin"):
            (self.root / name).symlink_to(f"/var/lib/gridengine/{name}")
        bootstrap = RELEASE.path("/var/lib/gridengine/default/common/bootstrap").read_text()
        ours = {
            "admin_user": "none",
            "spooling_method": "classic",
            "spooling_lib": "libspoolc",
            "spooling_params": self._spool,
            "qmaster_spool_dir": f"{self._cell}/spool/qmaster",
        }
        (self._cell / "common/bootstrap").write_text(changed(bootstrap, ours))
        (self._cell / "common/act_qmaster").write_text(f"{HOST}\n")

    @property
    def _spool(self) -> str:
        return f"{self._cell}/common;{self._cell}/spool/qmaster"

    def _initialize(self) -> None:
        (self.directory / "execd").mkdir()
        given = RELEASE.path("/usr/share/gridengine/default-configuration").read_text()
        ours = {
            "execd_spool_dir": f"{self.directory}/execd",
            "min_uid": "0",
            "min_gid": "0",
            "load_report_time": "0:0:2",
        }
        configuration = self.directory / "configuration"
        configuration.write_text(changed(given, ours).replace("flush_time=00:00:15", "flush_time=00:00:01"))
        tools, resources = "/usr/lib/gridengine", "/usr/share/gridengine/util/resources"
        self.run(f"{tools}/spoolinit", "classic", "libspoolc", self._spool, "init")
        for what in (
            ("configuration", str(configuration)),
            ("complexes", f"{resources}/centry"),
            ("usersets", f"{resources}/usersets"),
            ("managers", "root"),
        ):
            self.run(f"{tools}/spooldefaults", *what)

    def _configure(self) -> None:
        self.run("qconf", "-as", HOST)
        usage = "usage_scaling NONE\nreport_variables NONE\n"
        self._set("-Ae", f"hostname {HOST}\n{_HOST}{usage}")
        self._set("-Ap", _PARALLEL)
        self._set("-Aq", changed(self.run("qconf", "-sq"), _QUEUE))
        self._set("-Msconf", changed(self.run("qconf", "-ssconf"), _SCHEDULING))

    def _set(self, option: str, text: str) -> None:
        file = self.directory / "given"
        file.write_text(text)
        self.run("qconf", option, str(file))

    def _write_commands(self) -> None:
        (self.directory / "bin").mkdir(exist_ok=True)
        for name in COMMANDS:
            program = self.directory / "bin" / name
            program.write_text(f'#!/bin/sh\nexec {shlex.join(self._inside([f"/usr/bin/{name}"]))} "$@"\n')
            program.chmod(0o755)

    def down(self) -> None:
        """With all that runs in its network, which are the jobs too."""
        if not self.directory.exists():
            return
        with self.state.locked():
            if self.network.pid is not None:
                wait_until(lambda: not self._kill_all(), "Grid Engine and its jobs end")
            shutil.rmtree(self.directory)

    def _kill_all(self) -> set[int]:
        network = namespace(self.network.pid or 0)
        found = {pid for pid in pids() if network and namespace(pid) == network}
        send(found)
        return found


def namespace(pid: int) -> str:
    try:
        return str(Path(f"/proc/{pid}/ns/net").readlink())
    except OSError:
        return ""


def changed(text: str, values: Mapping[str, str]) -> str:
    """Change lines of a configuration as Grid Engine writes it."""
    for key, value in values.items():
        text = re.sub(rf"(?m)^{key} .*$", f"{key} {value}", text)
    return text
