"""A release of Debian in a directory: its programs run as processes of this machine, and see its /tmp.

So Slurm is had in the versions of other releases. The directory is kept, as packages of the machine are.
"""

import fcntl
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tests.services.packages import OURS, SLURM_PACKAGES, SSH_PACKAGES, SYSTEM_PATH, Missing, need

VARIABLE = "BARTENDER_TESTS_DEBIAN"
"""Names the release whose Slurm and OpenSSH tests use; without it they use those of this machine."""

KEPT = Path("/var/cache/bartender-tests")

# Mounts are seen by the process and its children only, and are gone with the last of them.
ENTER = """set -e
for directory in /dev /proc /sys "$1"; do
    mkdir -p "$0$directory"
    mount --rbind "$directory" "$0$directory"
done
for file in $2; do
    [ -e "$0/etc/$file" ] || : >"$0/etc/$file"
    mount --bind "/etc/$file" "$0/etc/$file"
done
root=$0; shift 2
exec chroot "$root" "$@"
"""
# The users of the machine have their numbers there, too; not while packages are installed, which make users.
SHARED = "passwd group shadow hosts resolv.conf"


@dataclass(frozen=True)
class Release:
    """One that debootstrap knows, such as trixie. ``purpose`` tells one with other packages from it."""

    name: str
    purpose: str = ""
    packages: tuple[str, ...] = (*SLURM_PACKAGES, *SSH_PACKAGES)

    @property
    def root(self) -> Path:
        return KEPT / self._directory

    @property
    def _directory(self) -> str:
        return f"{self.name}-{self.purpose}" if self.purpose else self.name

    def inside(self, command: Iterable[str], shared: str = SHARED) -> list[str]:
        """Make a command that runs there; its process is the one that is started here."""
        enter = ["unshare", "--mount", "--propagation=private", "sh", "-c", ENTER]
        return [*enter, str(self.root), tempfile.gettempdir(), shared, *command]

    def path(self, path: str) -> Path:
        """Where a file of it is for processes of this machine."""
        return self.root / path.lstrip("/")

    def need(self) -> None:
        """Make it with its packages, unless that was done before."""
        need(f"Debian {self.name}", ["debootstrap"], ["debootstrap", "debian-archive-keyring"])
        KEPT.mkdir(mode=0o755, exist_ok=True)
        with (KEPT / f"{self._directory}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self._make()
            wanted = " ".join(self.packages)
            done = self.path("/var/lib/bartender-packages")
            if not done.exists() or done.read_text() != wanted:
                self._install(wanted.split())
                done.write_text(wanted)

    def _make(self) -> None:
        done = self.path("/var/lib/bartender-made")
        if done.exists():
            return
        keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
        new = KEPT / f"{self._directory}.new"
        for command in (
            ["rm", "-rf", "--one-file-system", str(new), str(self.root)],
            ["debootstrap", "--variant=minbase", f"--keyring={keyring}", self.name, str(new)],
        ):
            self._do(command)
        (new / "usr/sbin/policy-rc.d").write_text(OURS)
        (new / "usr/sbin/policy-rc.d").chmod(0o755)
        # A mirror may be behind, and nothing here is worth protecting from old packages.
        (new / "etc/apt/apt.conf.d/99bartender").write_text('Acquire::Check-Valid-Until "false";\n')
        new.rename(self.root)
        done.touch()

    def _install(self, packages: list[str]) -> None:
        apt = ["apt-get", "-qq", "-y", "--no-install-recommends"]
        for command in ([*apt, "update"], [*apt, "install", *packages]):
            self._do(self.inside(command, "resolv.conf hosts"))

    def _do(self, command: list[str]) -> None:
        done = subprocess.run(
            command,
            env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            check=False,
        )
        if done.returncode != 0:
            raise Missing(f"Debian {self.name} cannot be had: {done.stdout[-300:].strip()}")


def scripts(release: Release, directory: Path, names: Iterable[str]) -> None:
    """Make programs of this machine that run those of the release."""
    directory.mkdir(exist_ok=True)
    for name in names:
        program = directory / name
        program.write_text(f'#!/bin/sh\nexec {shlex.join(release.inside([f"/usr/bin/{name}"]))} "$@"\n')
        program.chmod(0o755)
