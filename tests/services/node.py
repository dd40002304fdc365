"""Node, and the packages that npm installs for tests."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.services.packages import Missing

_OLDEST = 18
_OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED")


def install(what: str, directory: Path) -> None:
    """Install the versions of the directory's package-lock.json there, once; raise Missing."""
    need_node(what)
    stamp = directory / "node_modules/.installed"
    wanted = hashlib.sha256((directory / "package-lock.json").read_bytes()).hexdigest()
    with (directory / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (stamp.exists() and stamp.read_text() == wanted):
            _run_npm(what, directory)
            stamp.write_text(wanted)


def need_node(what: str) -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{what} needs Node, and there is no {program}")
    version = run("node", "--version").stdout
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST:
        raise Missing(f"{what} needs Node {_OLDEST} or later, and here is {version.strip()}")


def _run_npm(what: str, directory: Path) -> None:
    done = run("npm", "ci", "--ignore-scripts", "--no-progress", cwd=directory)
    if done.returncode == 0:
        return
    if _OFFLINE.search(done.stderr):
        raise Missing(f"{what} needs packages that npm cannot fetch here")
    raise AssertionError(f"npm ci: {done.stderr[-3000:]}")


def run(
    *command: str, cwd: Path | None = None, environment: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program and return what it said, on either output where it failed."""
    return subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
