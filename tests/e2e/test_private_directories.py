"""The main job where only one user may enter: nothing may depend on others reaching the installation."""

import os
import pwd
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.service import CHECKOUT
from tests.services.fixtures import skipped_where_missing
from tests.services.packages import Missing

SOMEBODY = "daemon"
VERSION = f"python{sys.version_info.major}.{sys.version_info.minor}"
WITHOUT_SETPCAP = ["setpriv", "--bounding-set=-setpcap", "--inh-caps=-setpcap"]

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to be somebody else")


@pytest.fixture
def private_directory() -> Iterator[Path]:
    """Of mode 700; not in pytest's own, which is below another one that is private."""
    with tempfile.TemporaryDirectory(prefix="bartender-tests-private-") as directory:
        yield Path(directory)


def python_for(user: Mapping[str, Any], config: pytest.Config) -> Path:
    """Return an interpreter of this version that the user may run."""
    for candidate in (sys._base_executable, shutil.which(VERSION, path=os.defpath)):  # type: ignore[attr-defined]
        # By env, since Popen raises when the user cannot reach the program.
        probe = ["/usr/bin/env", candidate or "false", "-c", ""]
        if subprocess.run(probe, **user, cwd="/", check=False).returncode == 0:
            return Path(str(candidate))
    with skipped_where_missing(config):
        raise Missing(f"no {VERSION} that the user {SOMEBODY} may run")
    raise AssertionError


def clone(directory: Path, python: Path) -> Path:
    """Make a checkout whose virtual environment has nearly all packages, so that pip fetches few."""
    checkout = directory / "bartender"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=CHECKOUT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (CHECKOUT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CHECKOUT / name, checkout / name)
    subprocess.run([python, "-m", "venv", "--without-pip", checkout / ".venv"], check=True, cwd="/")
    packages = checkout / ".venv" / "lib" / VERSION / "site-packages"
    ours = shutil.ignore_patterns("*bartender*")
    shutil.copytree(sysconfig.get_path("purelib"), packages, symlinks=True, dirs_exist_ok=True, ignore=ours)
    return checkout


def demo(checkout: Path, *prefix: str, **user: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*prefix, "make", "demo"],
        cwd=checkout,
        env={"PATH": os.environ["PATH"], "HOME": str(checkout.parent)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1200,
        check=False,
        **user,
    )


def test_root_runs_the_demo_where_only_root_may_enter(private_directory: Path) -> None:
    checkout = clone(private_directory, Path(sys._base_executable))  # type: ignore[attr-defined]
    completed = demo(checkout)
    assert completed.returncode == 0, completed.stdout
    assert "README.md" in completed.stdout.splitlines()[-1]

    # A container may keep the capability back by which PostgreSQL finds its own programs there.
    shutil.rmtree(checkout / ".bartender")
    completed = demo(checkout, *WITHOUT_SETPCAP)
    assert completed.returncode != 0
    assert "the user nobody cannot reach" in completed.stdout
    assert "CAP_SETPCAP" in completed.stdout
    assert "Traceback" not in completed.stdout


def test_a_user_runs_the_demo_in_a_home_of_their_own(
    private_directory: Path, request: pytest.FixtureRequest
) -> None:
    entry = pwd.getpwnam(SOMEBODY)
    user = {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}
    clone(private_directory, python_for(user, request.config))
    subprocess.run(["chown", "-R", f"{entry.pw_uid}:{entry.pw_gid}", private_directory], check=True)
    completed = demo(private_directory / "bartender", **user)
    assert completed.returncode == 0, completed.stdout
    assert "README.md" in completed.stdout.splitlines()[-1]
