"""OpenSSH on three ports of 127.0.0.1."""

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from tests.services.daemon import Daemon
from tests.services.packages import SSH_PACKAGES, need
from tests.services.processes import connection_sockets, holders, send, wait_until
from tests.services.state import State, listens

# What differs between the three.
ROOMY = "MaxStartups 1000\nMaxSessions 1000\n"
STOCK = "MaxStartups 10:30:100\nMaxSessions 10\n"
SFTP_ONLY = ROOMY + "ForceCommand internal-sftp\nAllowTcpForwarding no\n"
# From OpenSSH 9.8 on, an address is kept out for a while after its connections were killed.
NO_PENALTIES = "PerSourcePenalties=no"


class Sshd(Daemon):
    """One of the servers, with a port, host key and log of its own."""

    def __init__(self, name: str, state: State, directory: Path, limits: str, common: str) -> None:
        self.port = state.port(name)
        self._config = directory / f"{name}.conf"
        self._text = f"ListenAddress 127.0.0.1:{self.port}\n{limits}{common}"
        command = ["/usr/sbin/sshd", "-D", "-e", "-f", str(self._config)]
        super().__init__(name, directory, state.run_by(command), lambda: listens(self.port))

    def start(self) -> None:
        self._config.write_text(self._text)
        super().start()

    def connections(self) -> set[int]:
        """The processes behind established connections; they outlive a listener that is killed."""
        return holders(connection_sockets(self.port)) - {self.pid or 0}

    def drop_connections(self) -> int:
        """Kill their processes and return how many; the listener goes on, and takes new ones at once."""
        dropped: set[int] = set()
        sockets = connection_sockets(self.port)

        def are_gone() -> bool:
            """A process that is killed may just have made another one for its connection."""
            found = holders(sockets) - {self.pid or 0}
            send(found)
            dropped.update(found)
            return not found

        wait_until(are_gone, f"connections of {self.name} end")
        return len(dropped)

    def crash(self) -> None:
        """The listener and all connections at once, as when the machine goes down."""
        self.kill()
        self.drop_connections()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Crashed, and started again in the end."""
        self.crash()
        try:
            yield
        finally:
            self.start()


class SshServer:
    """Three servers with one account: ``roomy``, ``stock`` (the usual limits), ``sftp_only`` (no shell)."""

    host = "127.0.0.1"

    def __init__(self, state: State, environment: Mapping[str, str] | None = None) -> None:
        """``environment`` is for the commands that are run over SSH."""
        self.state = state
        self.directory = state.directory / "ssh"
        self.key = self.directory / "id_ed25519"
        self.host_key = self.directory / "host_key"
        self.known_hosts = self.directory / "known_hosts"
        self._environment = environment or {}

    @property
    def user(self) -> str:
        return self.state.account.name

    @property
    def password(self) -> str:
        return self.state.account.password

    @property
    def home(self) -> Path:
        return self.state.account.home

    def login(self, sshd: Sshd) -> dict[str, Any]:
        """Return the keys of an ``ssh_config`` that logs in by key; as JSON they are YAML, too."""
        return {
            "hostname": self.host,
            "port": sshd.port,
            "username": self.user,
            "private_key": str(self.key),
            "known_hosts": str(self.known_hosts),
        }

    @cached_property
    def roomy(self) -> Sshd:
        return self._sshd("ssh-roomy", ROOMY)

    @cached_property
    def stock(self) -> Sshd:
        return self._sshd("ssh-stock", STOCK)

    @cached_property
    def sftp_only(self) -> Sshd:
        return self._sshd("ssh-sftp-only", SFTP_ONLY)

    @property
    def daemons(self) -> list[Sshd]:
        return [self.roomy, self.stock, self.sftp_only]

    @property
    def is_up(self) -> bool:
        return all(daemon.is_ready for daemon in self.daemons)

    def up(self) -> None:
        # Of the machine too where a release has its own: their users are the machine's.
        need("OpenSSH", ["/usr/sbin/sshd", "ssh-keygen"], SSH_PACKAGES)
        self.state.prepare()
        if self.state.release:
            self.state.release.need()
        with self.state.locked():
            self.directory.mkdir(exist_ok=True)
            self.state.path("/run/sshd").mkdir(exist_ok=True)  # sshd does not start without
            for key in (self.host_key, self.key):
                make_key(key)
            (self.directory / "authorized_keys").write_bytes(self.key.with_suffix(".pub").read_bytes())
            host_key = self.host_key.with_suffix(".pub").read_text()
            hosts = ",".join(f"[{self.host}]:{daemon.port}" for daemon in self.daemons)
            self.known_hosts.write_text(f"{hosts} {host_key}")
            for daemon in self.daemons:
                daemon.start()

    def down(self) -> None:
        if self.directory.exists():
            with self.state.locked():
                for daemon in self.daemons:
                    daemon.stop()
                    daemon.drop_connections()

    @contextmanager
    def another(self, name: str, options: str, sftp: str = "internal-sftp") -> Iterator[Sshd]:
        """One more server, with these lines before those of all."""
        sshd = self._sshd(f"ssh-{name}", options, sftp)
        sshd.start()
        try:
            yield sshd
        finally:
            sshd.stop()
            sshd.drop_connections()

    def pinned(self, sshd: Sshd, **more: Any) -> dict[str, Any]:
        """Return the keys of an ``ssh_config`` for a server that is not among the known hosts."""
        host_key = " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])
        keys = self.login(sshd) | {"host_key": host_key} | more
        del keys["known_hosts"]
        return keys

    def _sshd(self, name: str, limits: str, sftp: str = "internal-sftp") -> Sshd:
        common = [
            f"HostKey {self.host_key}",
            f"AuthorizedKeysFile {self.directory / 'authorized_keys'}",
            f"AllowUsers {self.user}",
            "PidFile none",
            "StrictModes no",
            "UsePAM no",
            "UseDNS no",
            "LogLevel VERBOSE",  # a line for each session that is opened
            "PasswordAuthentication yes",
            f"Subsystem sftp {sftp}",
        ]
        if knows(self.state, NO_PENALTIES):
            common.append(NO_PENALTIES.replace("=", " "))
        if self._environment:
            common.append(
                "SetEnv " + " ".join(f'"{name}={value}"' for name, value in self._environment.items())
            )
        return Sshd(name, self.state, self.directory, limits, "\n".join(common) + "\n")


def make_key(path: Path) -> None:
    if not path.exists():
        new = path.with_suffix(".new")
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.name, "-f", str(new)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        Path(f"{new}.pub").replace(path.with_suffix(".pub"))
        new.replace(path)


def knows(state: State, option: str) -> bool:
    command = state.run_by(["/usr/sbin/sshd", "-f", "/dev/null", "-T", "-o", option])
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return "Bad configuration option" not in result.stdout
