import asyncssh

from tests.services.processes import wait_until
from tests.services.slurm import SlurmCluster
from tests.services.sshd import Sshd, SshServer

WORD_COUNT = "#!/bin/sh\nprintf 'one two three' | wc -w >count\n"


def submit(cluster: SlurmCluster, script: str, *options: str) -> str:
    """As the account, in its home."""
    account = cluster.state.account
    command = ["sbatch", "--parsable", f"--chdir={account.home}", *options]
    return cluster.run(*command, user=account.name, input=script).strip()


def state_of(cluster: SlurmCluster, job: str) -> str:
    return cluster.run("squeue", "-h", "-t", "all", "-j", job, "-o", "%T").strip()


def wait_for(cluster: SlurmCluster, job: str, state: str) -> None:
    wait_until(lambda: state_of(cluster, job) == state, f"job {job} is {state}")


def accounted(cluster: SlurmCluster, job: str) -> str:
    return cluster.run("sacct", "-XnP", "-j", job, "-o", "State,ExitCode").strip()


def test_a_word_count_ends_completed_and_accounted(slurm_cluster: SlurmCluster) -> None:
    job = submit(slurm_cluster, WORD_COUNT)
    wait_for(slurm_cluster, job, "COMPLETED")
    assert (slurm_cluster.state.account.home / "count").read_text().strip() == "3"
    wait_until(lambda: accounted(slurm_cluster, job) == "COMPLETED|0:0", f"job {job} is accounted")


async def log_in(ssh: SshServer, server: Sshd, **options: object) -> asyncssh.SSHClientConnection:
    given = {"client_keys": [str(ssh.key)], "known_hosts": str(ssh.known_hosts), **options}
    return await asyncssh.connect(ssh.host, server.port, username=ssh.user, config=None, **given)


async def test_ssh_lets_in_by_key_and_by_password(ssh_server: SshServer) -> None:
    ways = [{}, {"client_keys": None, "password": ssh_server.password}]
    for server in (ssh_server.roomy, ssh_server.stock):
        for way in ways:
            async with await log_in(ssh_server, server, **way) as connection:
                assert (await connection.run("id -un", check=True)).stdout == f"{ssh_server.user}\n"
