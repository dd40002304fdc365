"""The directory of the servers: what they write, the ports and the account that were chosen for them."""

import fcntl
import json
import os
import pwd
import random
import secrets
import shutil
import socket
import stat
import subprocess
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tests.services import release
from tests.services.packages import Missing, need_root
from tests.services.processes import of_user, send, wait_until
from tests.services.release import Release

# Below the ports that connections are given, so that nobody takes the port of a server that is down.
PORTS = range(20000, 32000)
KEPT = "kept.json"


@dataclass(frozen=True)
class Account:
    """A user of the machine that exists as long as the state."""

    name: str
    password: str
    home: Path

    @property
    def uid(self) -> int:
        return pwd.getpwnam(self.name).pw_uid

    def own(self, directory: Path) -> Path:
        """Make a directory that is the user's."""
        directory.mkdir()
        os.chown(directory, self.uid, self.uid)
        return directory


class State:
    """What has to be the same when servers are started again, by whomever."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.resolve()

    def prepare(self) -> None:
        need_root("A server of tests")
        if len(str(self.directory)) > 60 or " " in str(self.directory):
            raise Missing(f"{self.directory} has a space or is too long for the path of a Unix socket")
        self.directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        for path in [self.directory, *self.directory.parents]:
            if not path.stat().st_mode & stat.S_IXOTH:
                raise Missing(
                    f"{path} is closed to other users, and one of them has to reach the servers' directory"
                )
        self.keep("release", lambda: os.environ.get(release.VARIABLE, ""))

    @property
    def release(self) -> Release | None:
        """Whose programs the servers are; None: those of this machine."""
        name = self._kept().get("release")
        return Release(name) if name else None

    def run_by(self, command: list[str]) -> list[str]:
        """Make a command that runs one of those programs."""
        return self.release.inside(command) if self.release else command

    def path(self, path: str) -> Path:
        """Where a file that belongs to those programs is."""
        return self.release.path(path) if self.release else Path(path)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One at a time starts and stops servers."""
        with (self.directory / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def keep(self, name: str, choose: Callable[[], str]) -> str:
        """What was chosen when this was first asked for."""
        kept = self._kept()
        if name not in kept:
            kept[name] = choose()
            write(self.directory / KEPT, json.dumps(kept))
        return kept[name]

    def _kept(self) -> dict[str, str]:
        file = self.directory / KEPT
        return json.loads(file.read_text()) if file.exists() else {}

    def port(self, name: str) -> int:
        """A free port, the same one for the same name."""
        return int(self.keep(name, lambda: free_port(taken=self._kept().values())))

    @cached_property
    def account(self) -> Account:
        """Made at the first use, with a name and a password of its own."""
        name = self.keep("account", lambda: f"bt-{secrets.token_hex(4)}")
        account = Account(name, self.keep("password", lambda: secrets.token_hex(8)), self.directory / "home")
        try:
            pwd.getpwnam(name)
        except KeyError:
            create(account)
        return account

    def remove(self) -> None:
        """For when the servers are down: end what the account still runs, forget it, delete everything."""
        if "account" in self._kept():
            uid, name = self.account.uid, self.account.name
            wait_until(lambda: not kill_all_of(uid), f"processes of {name} end")
            subprocess.run(["/usr/sbin/userdel", name], check=True, stdin=subprocess.DEVNULL)
        shutil.rmtree(self.directory, ignore_errors=True)


def write(file: Path, text: str) -> None:
    """All or nothing, and for root's eyes."""
    new = file.with_suffix(".new")
    new.touch(mode=0o600)
    new.write_text(text)
    new.replace(file)


def free_port(taken: Collection[str]) -> str:
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if str(port) not in taken:
            return str(port)


def listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def listens_at(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(5)
        return probe.connect_ex(os.fsencode(path)) == 0


def create(account: Account) -> None:
    options = ["--no-log-init", "--create-home", f"--home-dir={account.home}", "--shell=/bin/bash"]
    command = ["/usr/sbin/useradd", *options, "--comment=tests of Bartender", account.name]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    subprocess.run(["/usr/sbin/chpasswd"], input=f"{account.name}:{account.password}", text=True, check=True)


def kill_all_of(uid: int) -> set[int]:
    """Returns what there was to kill."""
    found = of_user(uid)
    send(found)
    return found
