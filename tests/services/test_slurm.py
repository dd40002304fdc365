import re
from collections.abc import Iterator

import httpx
import pytest

from tests.services import slurm_config
from tests.services.processes import wait_until
from tests.services.slurm import SlurmCluster
from tests.services.submitting import seen, submit, wait_for

WORD_COUNT = "#!/bin/sh\nprintf 'one two three' | wc -w >count\n"


def accounted(cluster: SlurmCluster, job: str) -> str:
    return cluster.run("sacct", "-XnP", "-j", job, "-o", "State,ExitCode").strip()


def run_word_count(cluster: SlurmCluster) -> str:
    count = cluster.state.account.home / "count"
    count.unlink(missing_ok=True)
    job = submit(cluster, WORD_COUNT)
    wait_for(cluster, job, "COMPLETED")
    assert count.read_text().strip() == "3"
    return job


def test_a_word_count_ends_completed_and_accounted(slurm_cluster: SlurmCluster) -> None:
    job = run_word_count(slurm_cluster)
    wait_until(lambda: accounted(slurm_cluster, job) == "COMPLETED|0:0", f"job {job} is accounted")


def test_without_accounting_jobs_run_and_sacct_says_that_it_is_off(
    slurm_without_accounting: SlurmCluster,
) -> None:
    run_word_count(slurm_without_accounting)
    with pytest.raises(RuntimeError, match="accounting storage is disabled"):
        slurm_without_accounting.run("sacct")


def test_two_clusters_do_not_know_each_others_jobs(
    slurm_cluster: SlurmCluster, slurm_without_accounting: SlurmCluster
) -> None:
    job = submit(slurm_cluster, "#!/bin/sh\nsleep 600\n", "--job-name=mine")
    try:
        assert slurm_without_accounting.run("squeue", "-h", "--name=mine") == ""
    finally:
        slurm_cluster.run("scancel", job)


def test_many_jobs_run_side_by_side(slurm_cluster: SlurmCluster) -> None:
    """Each ends only when all are there, so all have to run at the same time."""
    home = slurm_cluster.state.account.home
    number = slurm_config.CPUS
    wait = f"until [ $(ls here-* | wc -l) = {number} ]; do sleep 0.2; done"
    script = f"#!/bin/sh\ntouch here-$SLURM_ARRAY_TASK_ID\n{wait}\n"
    job = submit(slurm_cluster, script, f"--array=1-{number}", "--output=/dev/null")
    wait_until(lambda: set(seen(slurm_cluster, job).split()) == {"COMPLETED"}, "all have met")
    assert len(list(home.glob("here-*"))) == number


def test_partitions(slurm_cluster: SlurmCluster) -> None:
    too_long = submit(slurm_cluster, WORD_COUNT, "--partition=short", "--time=5")
    wait_until(lambda: seen(slurm_cluster, too_long, "%T %r") == "PENDING PartitionTimeLimit", "it waits")
    slurm_cluster.run("scancel", too_long)
    slurm_cluster.set_partition("spare", "DOWN")
    try:
        job = submit(slurm_cluster, WORD_COUNT, "--partition=spare")
        wait_until(lambda: seen(slurm_cluster, job, "%T %r") == "PENDING PartitionDown", "it waits")
    finally:
        slurm_cluster.set_partition("spare", "UP")
    wait_for(slurm_cluster, job, "COMPLETED")


def test_memory_is_limited_where_control_groups_allow_it(slurm_cluster: SlurmCluster) -> None:
    if not slurm_cluster.cgroups:
        pytest.skip("this machine has no control groups of version 1 that can be written to")
    job = submit(slurm_cluster, "#!/bin/sh\nhead -c 300M /dev/zero | tail -c 300M | wc -c\n", "--mem=100")
    wait_for(slurm_cluster, job, "OUT_OF_MEMORY")


def test_slurmrestd_answers_to_a_token(slurm_cluster: SlurmCluster) -> None:
    user = slurm_cluster.state.account.name
    headers = {"X-SLURM-USER-NAME": user, "X-SLURM-USER-TOKEN": slurm_cluster.token()}
    with httpx.Client(base_url=slurm_cluster.rest_url, headers=headers, timeout=60) as client:
        paths = client.get("/openapi/v3").raise_for_status().json()["paths"]
        ping = next(path for path in paths if re.fullmatch(r"/slurm/v[\d.]+/ping/?", path))
        assert client.get(ping).raise_for_status().json()["pings"]
        # What it knows without the controller, newer ones tell everybody.
        refused = client.get(ping.replace("/ping", "/partitions"), headers={"X-SLURM-USER-TOKEN": "wrong"})
        assert refused.is_error or refused.json()["errors"]


def test_finished_jobs_are_purged_when_told_to(slurm_without_accounting: SlurmCluster) -> None:
    slurm_without_accounting.configure(MinJobAge="2")
    job = run_word_count(slurm_without_accounting)
    wait_until(
        lambda: not slurm_without_accounting.succeeds("squeue", "-h", "-t", "all", "-j", job),
        "it is forgotten",
    )


@pytest.fixture
def mended(slurm_cluster: SlurmCluster) -> Iterator[SlurmCluster]:
    yield slurm_cluster
    for daemon in slurm_cluster.daemons:
        daemon.thaw()
        daemon.start()


@pytest.mark.parametrize("name", ["munged", "mariadbd", "slurmdbd", "slurmctld", "slurmd", "slurmrestd"])
def test_a_daemon_that_was_killed_or_stopped_comes_back(mended: SlurmCluster, name: str) -> None:
    daemon = {daemon.name: daemon for daemon in mended.daemons}[name]
    first = daemon.pid
    assert first
    daemon.kill()
    assert daemon.pid is None
    assert not daemon.is_ready
    daemon.start()
    second = daemon.pid
    assert second not in (None, first)
    daemon.restart()
    assert daemon.pid not in (None, first, second)
    job = run_word_count(mended)
    wait_until(lambda: accounted(mended, job) == "COMPLETED|0:0", f"job {job} is accounted")


def test_a_frozen_daemon_answers_after_it_is_thawed(mended: SlurmCluster) -> None:
    pid = mended.slurmctld.pid
    mended.slurmctld.freeze()
    assert mended.slurmctld.pid == pid
    with pytest.raises(RuntimeError, match="failed"):
        mended.run("timeout", "1", "squeue")
    mended.slurmctld.thaw()
    assert mended.succeeds("squeue", "-h")


def test_jobs_outlive_a_crash_of_everything(mended: SlurmCluster) -> None:
    done = mended.state.account.home / "done"
    job = submit(mended, "#!/bin/sh\nuntil [ -e go ]; do sleep 0.1; done\nrm go\ntouch done\n")
    wait_for(mended, job, "RUNNING")
    mended.slurmctld.restart()  # only what is written down outlives a crash
    for daemon in reversed(mended.daemons):
        daemon.kill()
    mended.up()
    (mended.state.account.home / "go").touch()
    wait_for(mended, job, "COMPLETED")
    assert done.exists()
