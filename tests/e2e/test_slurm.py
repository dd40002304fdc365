"""Jobs of a whole server on a cluster that is reached by SSH, and on one that is here."""

import asyncio
import json
import os
import shutil
import signal
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

from flows.batch.references import installation_of, token_of
from flows.upkeep import leftover_directories
from flows.upkeep.leftover_jobs import WHAT
from tests.e2e.conftest import database, prefect_client
from tests.e2e.service import Service, until
from tests.e2e.upkeep_runs import ended as finished
from tests.e2e.upkeep_runs import message, start, unscheduled
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer

CONFIG = """
applications:
  wc:
    command_template: wc README.md
    upload_needs: [README.md]
  script:
    command_template: sh script.sh
    upload_needs: [script.sh]
destinations:
  there:
    scheduler: {{type: slurm, ssh_config: &ssh {ssh}, poll_interval: 0.1}}
    filesystem: {{type: sftp, ssh_config: *ssh, entry: {entry}}}
  here:
    scheduler: {{type: slurm, partition: main, time: "10:00", poll_interval: 0.1}}
    filesystem: {{type: local}}
destination_picker: picker.py:by_file
"""

PICKER = """
def by_file(job_dir, application_name, submitter, context):
    return "here" if (job_dir / "here").exists() else "there"
"""


@pytest.fixture(scope="module")
def entry(slurm_cluster: SlurmCluster) -> Path:
    account = slurm_cluster.state.account
    return account.own(account.home / f"entry-{uuid.uuid4()}")


@pytest_asyncio.fixture(scope="module")
async def slurm_service(
    slurm_cluster: SlurmCluster, ssh_server: SshServer, entry: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Service]:
    ssh = json.dumps(ssh_server.login(ssh_server.stock))
    service = Service(tmp_path_factory.mktemp("slurm"), CONFIG.format(ssh=ssh, entry=entry))
    (service.directory / "picker.py").write_text(PICKER)
    await service.start(**slurm_cluster.environment)
    yield service
    await service.stop()
    shutil.rmtree(entry)


async def test_jobs_on_clusters(slurm_service: Service, slurm_cluster: SlurmCluster, entry: Path) -> None:
    service = slurm_service
    wait = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done"
    words = await service.submit({"README.md": "one two\nthree\n"}, "wc")
    fails = await service.submit({"script.sh": "exit 3", "here": ""})
    waits = await service.submit({"script.sh": wait})
    survives = await service.submit({"script.sh": f"{wait}; echo done", "here": ""})

    assert (await service.ended(words))["state"] == "ok"
    assert (await service.client.get(f"/api/job/{words}/stdout")).text.split() == [
        "2",
        "3",
        "14",
        "README.md",
    ]
    files = {path.name for path in service.job_dir(words).iterdir()}
    assert files == {"README.md", "stdout.txt", "stderr.txt", "returncode"}
    job = await service.ended(fails)
    assert (job["state"], job["reason_kind"]) == ("error", "user error")
    assert "exit code 3" in job["reason"]

    await service.state_is(waits, "running")
    assert (await service.client.delete(f"/api/job/{waits}")).status_code == 204

    # The whole server is killed, and another one finds its job again.
    await service.state_is(survives, "running")
    await service.stop(signal.SIGKILL)
    nowhere = "http://127.0.0.1:9/api"
    (service.data_dir / "environment").write_text(f"export PREFECT_API_URL={nowhere}\n")
    await service.start(**slurm_cluster.environment)
    assert service.environment["PREFECT_API_URL"] != nowhere  # that was the killed one's
    (service.job_dir(survives) / "go").touch()
    assert (await service.ended(survives))["state"] == "ok"
    assert (service.job_dir(survives) / "ledger").read_text() == "ran\n"

    async def nothing_is_left() -> bool:
        queue = await asyncio.to_thread(slurm_cluster.run, "squeue", "-h")
        names = [path.name for path in service.job_dir(1).parent.iterdir() if path.name.endswith(".started")]
        return not queue and not names and not any(entry.iterdir())

    await until(nothing_is_left)


async def test_what_a_cluster_keeps_of_jobs_that_are_over(
    slurm_service: Service, slurm_cluster: SlurmCluster, entry: Path
) -> None:
    """As of a controller that was killed and has forgotten that they ended, and of a disk that was away."""
    service, account = slurm_service, slurm_cluster.state.account

    def again(name: str) -> str:
        command = ["sbatch", "--parsable", f"--job-name={name}", "--output=/dev/null"]
        script = "#!/bin/sh\nsleep 1000\n"
        return slurm_cluster.run(*command, input=script, user=account.name).strip()

    active = await service.submit({"script.sh": "while [ ! -e go ]; do sleep 0.05; done", "here": ""})
    ended = await service.submit({"script.sh": "true"})
    assert (await service.ended(ended))["state"] == "ok"
    await service.state_is(active, "running")
    async with database(service) as connection:
        token = await connection.fetchval("SELECT token FROM job WHERE id = $1", ended)
        installation = await connection.fetchval("SELECT id FROM installation")
    names = slurm_cluster.run("squeue", "-h", "-t", "all", "-o", "%j").split()
    assert [installation_of(name) for name in names if token_of(name) == str(token)] == [str(installation)]

    async def cancelled() -> bool:
        return not left & set(slurm_cluster.run("squeue", "-h", "-o", "%A").split())

    async with (
        prefect_client(service) as prefect,
        unscheduled(prefect, "reconcile"),
        unscheduled(prefect, "clean-up"),
    ):
        left = {again(f"script-{ended}.{token}"), again(f"script-99.{installation}.{uuid.uuid4()}")}
        theirs = again(f"script-99.{uuid.uuid4()}.{uuid.uuid4()}")
        (entry / str(token)).mkdir()
        os.utime(entry / str(token), (0, 0))
        dry = await start(prefect, "clean-up", dry_run=True)
        said = message(await finished(prefect, dry.id))
        assert f"{WHAT}: would be cancelled 2" in said
        assert f"{leftover_directories.WHAT}: would be removed 1" in said
        assert not await cancelled()
        run = await start(prefect, "reconcile")
        assert f"{WHAT}: cancelled 2" in message(await finished(prefect, run.id))
        await until(cancelled)
        tables = await prefect.read_artifacts(
            artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["reconciliation"]))
        )
    rows = json.loads(str(tables[0].data))
    assert {row["which"].split()[0] for row in rows} == left
    assert theirs in slurm_cluster.run("squeue", "-h", "-o", "%A").split()
    slurm_cluster.run("scancel", theirs)
    (service.job_dir(active) / "go").touch()
    assert (await service.ended(active))["state"] == "ok"
