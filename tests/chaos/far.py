"""The cluster beside, reached by SSH: what the chaos needs of it."""

import json
import signal
import uuid
from pathlib import Path

from tests.chaos.parts import OwnDaemon, OwnSshd, Part
from tests.services.processes import send
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer


class Far:
    """A directory of this run's own in the account's home."""

    def __init__(self, cluster: SlurmCluster, server: SshServer) -> None:
        self._cluster = cluster
        self._server = server
        home = server.home / f"chaos-{uuid.uuid4().hex[:8]}"
        self.entry = home / "jobs"
        self.ledgers = home / "ledgers"
        for directory in (home, self.entry, self.ledgers):
            server.state.account.own(directory)

    def configuration(self) -> str:
        ssh = json.dumps(self._server.login(self._server.roomy))
        return f"""
  cluster:
    scheduler: {{type: slurm, ssh_config: {ssh}, poll_interval: 1.0, lost_after: 20}}
    filesystem: {{type: sftp, ssh_config: {ssh}, entry: {self.entry}}}
"""

    def parts(self) -> dict[str, Part]:
        return {"sshd": OwnSshd(self._server.roomy), "slurmctld": OwnDaemon(self._cluster.slurmctld)}

    def administer(self) -> None:
        """Do what a cluster's administrator does: resume a drained node, release held jobs.

        A controller that forgot jobs gives their ids away again, which the node refuses: duplicates.
        """
        self._cluster.slurmd.start()  # which resumes its node
        held = self._cluster.run("squeue", "-h", "-t", "PD", "-o", "%A|%r")
        for line in held.splitlines():
            slurm_id, _, reason = line.partition("|")
            if "held" in reason:
                self._cluster.succeeds("scontrol", "release", slurm_id)

    def let_nodes_register(self) -> None:
        """Have the node say what it runs, as it does once in a while.

        A controller that was killed before it wrote down that a job began takes it for one that waits:
        cancelled then, the job's processes go on until their node has registered (Slurm 22.05).
        """
        if (pid := self._cluster.slurmd.pid) is not None:
            send([pid], signal.SIGHUP)

    def leftovers(self) -> list[str]:
        found = [f"{path} is left" for path in self.entry.iterdir()]
        jobs = self._cluster.run("squeue", "-h", "-u", self._server.user)
        return found + [f"Slurm still has {line.strip()}" for line in jobs.splitlines()]

    def logs(self) -> list[Path]:
        return [self._cluster.slurmctld.log, self._cluster.slurmd.log, self._server.roomy.log]
