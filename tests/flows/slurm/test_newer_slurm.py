"""The same tests on Slurm of newer releases of Debian, each in a directory of its own."""

import os
import subprocess
import sys

import pytest

from tests.services.fixtures import skipped_where_missing
from tests.services.release import VARIABLE, Release

SUITE = ["tests/flows/slurm", "tests/scheduler_contract", "tests/services/test_slurm.py"]
"""Beside what is Slurm's, the contract of all schedulers, and the servers themselves."""


@pytest.mark.long
@pytest.mark.parametrize("name", ["trixie", "sid"])
def test_on_slurm_of(name: str, pytestconfig: pytest.Config) -> None:
    """24.11 in trixie; what is newest in sid, 26.05 when this was written."""
    with skipped_where_missing(pytestconfig):
        Release(name).need()
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *SUITE],
        env={**os.environ, VARIABLE: name},
        cwd=pytestconfig.rootpath,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8000:]
