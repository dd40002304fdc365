"""A configuration file that was written for Bartender 0.5, on a real cluster: only the host key is new."""

import json
import shutil
import uuid
from pathlib import Path

from tests.e2e.service import Service
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

# Its keys and their places are those that 0.5 reads; 0.5 asks nobody whether it is the right machine.
CONFIG = """
destination_picker: bartender.picker:pick_first
job_root_dir: {jobs}
applications:
  words:
    summary: Count words
    command_template: wc {{{{ unit }}}} README.md
    upload_needs: [README.md]
    input_schema:
      type: object
      properties:
        unit: {{type: string, enum: [-l, -w], default: -l}}
destinations:
  cluster:
    scheduler:
      type: slurm
      partition: main
      time: '10:00'
      extra_options: [--nodes=1]
      ssh_config: {ssh}
    filesystem:
      type: sftp
      ssh_config: {ssh}
      entry: {entry}
"""


async def test_its_jobs_run_once_the_machine_is_known(
    own_service: Service, slurm_cluster: SlurmCluster, ssh_server: SshServer, tmp_path: Path
) -> None:
    account = slurm_cluster.state.account
    entry = account.own(account.home / f"entry-{uuid.uuid4()}")
    login = {
        "port": ssh_server.stock.port,
        "hostname": ssh_server.host,
        "username": ssh_server.user,
        "password": ssh_server.password,
    }
    config = own_service.directory / "config.yaml"
    values = {"jobs": tmp_path / "jobs", "entry": entry}
    config.write_text(CONFIG.format(ssh=json.dumps(login), **values))
    home = {"HOME": str(tmp_path)}  # no host is known there
    try:
        await own_service.start(**home)
        job_id = await own_service.submit({"README.md": "one two\nthree\n"}, "words")
        reason = await own_service.reason_of(job_id, "host_key")
        assert "bartender ssh-keyscan" in reason
        assert "\n" not in reason
        assert ssh_server.password not in own_service.log()
        await own_service.stop()

        known = ssh_server.known_hosts.read_text().split()
        login["host_key"] = " ".join(known[1:3])
        config.write_text(CONFIG.format(ssh=json.dumps(login), **values))
        await own_service.start(**home)
        assert (await own_service.ended(job_id))["state"] == "ok"
        assert (await own_service.client.get(f"/api/job/{job_id}/stdout")).text.split() == ["2", "README.md"]
    finally:
        await own_service.stop()
        shutil.rmtree(entry)
