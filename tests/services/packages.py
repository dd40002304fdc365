"""What the servers need of the machine; as root, packages that are missing are installed."""

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK = Path("/run/lock/bartender-packages")
POLICY = Path("/usr/sbin/policy-rc.d")
OURS = "#!/bin/sh\n# Packages for tests of Bartender must not start daemons.\nexit 101\n"
SLURM_PACKAGES = [
    "slurmctld",
    "slurmd",
    "slurm-client",
    "slurmdbd",
    "slurmrestd",
    "munge",
    "mariadb-server-core",
]
SLURM_PACKAGES += ["slurm-wlm-mysql-plugin", "slurm-wlm-jwt-plugin"]
SSH_PACKAGES = ["openssh-server", "openssh-client"]
SYSTEM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class Missing(Exception):
    """This machine lacks something that tests need; the message says what."""


def need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise Missing(f"{what} is only started by root")


def need(what: str, files: Iterable[str], packages: Iterable[str]) -> None:
    """Install ``packages`` unless all ``files`` are there: names of programs, or patterns of paths."""
    need_root(what)
    if not absent(files):
        return
    if shutil.which("apt-get") is None:
        raise Missing(f"{what} lacks {', '.join(absent(files))}, and there is no apt-get to install it")
    LOCK.parent.mkdir(parents=True, exist_ok=True)
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if absent(files):
            install(what, list(packages))
    if absent(files):
        raise Missing(f"{what} lacks {', '.join(absent(files))} though its packages are installed")


def absent(files: Iterable[str]) -> list[str]:
    def there(name: str) -> bool:
        return (
            any(Path("/").glob(name[1:])) if "/" in name else shutil.which(name, path=SYSTEM_PATH) is not None
        )

    return [name for name in files if not there(name)]


def install(what: str, packages: list[str]) -> None:
    """The lists of packages are fetched only if they turn out to be too old."""
    options = ["--no-install-recommends", "-o", "Dpkg::Options::=--force-confold"]
    with no_daemons():
        if apt("install", *options, *packages).returncode != 0:
            apt("update")
            last = apt("install", *options, *packages)
            if last.returncode != 0:
                errors = [line for line in last.stdout.splitlines() if line.startswith("E:")]
                said = errors[0] if errors else last.stdout[-300:]
                raise Missing(f"{what} lacks packages, and apt-get install {' '.join(packages)} says: {said}")


def apt(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["apt-get", "-qq", "-y", "-o", "DPkg::Lock::Timeout=300", *arguments],
        env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )


@contextmanager
def no_daemons() -> Iterator[None]:
    """A file that was left by a killed process of ours goes as well."""
    if POLICY.exists() and POLICY.read_text() != OURS:
        yield
        return
    POLICY.write_text(OURS)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink()
