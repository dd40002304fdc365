"""Submissions that arrive when all is over: their sender gave them up, and another went on."""

import os
import subprocess
import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows.batch import by_commands, guards
from flows.batch.references import Reference
from flows.batch.script import INCOMPLETE
from flows.destinations.filesystem import guard
from flows.destinations.scheduler import Submission
from flows.slurm.commands import SlurmCommands
from flows.slurm.options import SlurmOptions

SBATCH = 'cat >"$LEDGER.script"; echo submitted >>"$LEDGER"; /bin/sh "$LEDGER.script"; echo 7\n'


@dataclass(frozen=True)
class Cluster:
    """Programs that do as Slurm's do; sbatch runs its script at once."""

    directory: Path
    job_dir: Path
    token: str

    @property
    def guard(self) -> Path:
        return guard(self.job_dir, self.token)

    @property
    def submitted(self) -> int:
        ledger = self.directory / "ledger"
        return len(ledger.read_text().splitlines()) if ledger.exists() else 0

    def receive(self) -> subprocess.CompletedProcess[str]:
        """Take one line of a submission; each has a number of its own."""
        job = Submission(
            token=self.token,
            job_id=1,
            application="a",
            submitter="me",
            command="echo ran >>ran",
            directory=self.job_dir,
        )
        reference = Reference(self.token, directory=str(self.job_dir))
        order = by_commands.order(SlurmCommands(SlurmOptions()), job, reference, {})
        return subprocess.run(
            ["/bin/sh", "-c", order.command],
            input=order.input.decode(),
            text=True,
            capture_output=True,
            check=False,
            env={
                "PATH": f"{self.directory / 'bin'}:{os.defpath}",
                "LEDGER": str(self.directory / "ledger"),
                "SLURM_JOB_ID": "7",
            },
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    (tmp_path / "bin").mkdir()
    for name, script in {"sbatch": SBATCH, "squeue": "", "sacct": ""}.items():
        program = tmp_path / "bin" / name
        program.write_text(f"#!/bin/sh\n{script}")
        program.chmod(0o755)
    job_dir = tmp_path / "jobs/1"
    job_dir.mkdir(parents=True)
    return Cluster(tmp_path, job_dir, str(uuid.uuid4()))


def test_after_the_end(cluster: Cluster) -> None:
    assert cluster.receive().stdout == "7\n"
    assert (cluster.job_dir / "ran").read_text() == "ran\n"
    guards.remove(cluster.guard)
    assert not cluster.guard.exists()
    assert cluster.receive().returncode == INCOMPLETE
    assert (cluster.submitted, (cluster.job_dir / "ran").read_text()) == (1, "ran\n")
    assert not cluster.guard.exists()


def test_after_the_files_were_removed(cluster: Cluster) -> None:
    assert cluster.receive().stdout == "7\n"
    guards.remove(cluster.guard)
    ran = cluster.job_dir.rename(cluster.directory / "removed") / "ran"
    cluster.receive()
    assert ran.read_text() == "ran\n"
    assert not cluster.job_dir.exists()
    assert not (cluster.guard / "returncode").exists()  # the command did not begin


def test_after_the_job_was_cancelled(cluster: Cluster) -> None:
    guards.mark_cancelled(cluster.guard)
    (cluster.guard / "command").write_text("a secret")
    guards.remove(cluster.guard)
    assert cluster.receive().stdout == "cancelled\n"
    assert cluster.submitted == 0
    assert [path.name for path in cluster.guard.iterdir()] == ["cancelled"]
