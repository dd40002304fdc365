"""Where Bartender keeps things on this machine."""

from dataclasses import dataclass
from pathlib import Path

from flows.disk import names

STDOUT, STDERR, RETURNCODE = OUTPUTS = ("stdout.txt", "stderr.txt", "returncode")
"""What a job writes itself; a member of that name in an upload gives way."""


@dataclass(frozen=True, slots=True)
class Place:
    """The data directory and what is in it. Only ``job_root`` can be elsewhere.

    A job's directory belongs to the visitor; our own bookkeeping of it is in the others.
    """

    data_dir: Path
    job_root: Path
    worker: str = "worker"

    def job_dir(self, job_id: int) -> Path:
        """Where a job's files are."""
        return self.job_root / names.of_job(job_id)

    def hidden_dir(self, job_id: int, token: str) -> Path:
        """Where a job's files are while they are unpacked, one level below, and while they are removed."""
        return self.job_root / names.hidden(job_id, token)

    def aside(self, job_id: int) -> Path:
        """Where to put what is in a job's place and not ours to destroy: another at each call."""
        return self.job_root / names.aside(job_id)

    @property
    def uploads(self) -> Path:
        """Where archives are until they are unpacked."""
        return self.data_dir / "uploads"

    def upload(self, token: str) -> Path:
        """Where the archive that a visitor sent is kept until it is unpacked."""
        return self.uploads / names.upload(token)

    @property
    def commands(self) -> Path:
        """Bookkeeping of commands that this worker runs on its machine, below each destination's name.

        Never another worker's: it may be on another machine, and each counts its own slots.
        """
        return self.data_dir / "commands" / self.worker

    @property
    def interactive(self) -> Path:
        """Temporary files of interactive applications, and locks of the jobs that they run on."""
        return self.data_dir / "interactive"

    @property
    def capability_key(self) -> Path:
        """What the API makes addresses of files from that need no token."""
        return self.data_dir / "capability_key"

    @property
    def transfer_key(self) -> Path:
        """What the credentials are made from of those who fetch and bring the files of jobs by HTTP."""
        return self.data_dir / "transfer_key"

    @property
    def results(self) -> Path:
        """What the tasks of flow runs returned, to continue after a restart."""
        return self.data_dir / "results"
