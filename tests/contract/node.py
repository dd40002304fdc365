"""The client library of web applications, as npm installs it, and the programs that use it."""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.services.packages import Missing

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"
_STAMP = MODULES / ".installed"
_OLDEST = 18
_WHAT = "the test of the contract with web applications"
_OFFLINE = re.compile(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|ENOTCACHED")


def install() -> None:
    """Install the versions of package-lock.json, once; raise Missing."""
    need_node()
    wanted = hashlib.sha256((HERE / "package-lock.json").read_bytes()).hexdigest()
    with (HERE / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (_STAMP.exists() and _STAMP.read_text() == wanted):
            _run_npm()
            _STAMP.write_text(wanted)


def need_node() -> None:
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise Missing(f"{_WHAT} needs Node, and there is no {program}")
    version = run("node", "--version").stdout
    if int(version.removeprefix("v").partition(".")[0]) < _OLDEST:
        raise Missing(f"{_WHAT} needs Node {_OLDEST} or later, and here is {version.strip()}")


def _run_npm() -> None:
    done = run("npm", "ci", "--ignore-scripts", "--no-progress", cwd=HERE)
    if done.returncode == 0:
        return
    if _OFFLINE.search(done.stderr):
        raise Missing(f"{_WHAT} needs packages that npm cannot fetch here")
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


def compiled(document_url: str, directory: Path) -> Path:
    """Make types from an OpenAPI document, compile the tests with them, and return where they are."""
    for source in [HERE / "tsconfig.json", *(HERE / "client").glob("*.ts")]:
        shutil.copy(source, directory)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "node_modules").symlink_to(MODULES)
    for command in (
        ("openapi-typescript", document_url, "--output", "api.d.ts"),
        ("tsc", "--strict", "--noEmitOnError"),
    ):
        done = run(str(MODULES / ".bin" / command[0]), *command[1:], cwd=directory)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return directory / "out"
