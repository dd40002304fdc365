"""Start and end of the servers together, and tests where there are none."""

import os
import pwd
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.services.fixtures import PREFIX, clear_leftovers, started
from tests.services.processes import lives, of_user, pids
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.services.state import State, listens
from tests.services.submitting import submit, wait_for

STRAY = "#!/bin/sh\nsetsid sleep 3600 &\nsleep 3600\n"


def ports_of(state: State) -> list[int]:
    names = ["slurm-slurmctld", "slurm-slurmd", "slurm-slurmdbd", "slurm-slurmrestd"]
    names += ["ssh-roomy", "ssh-stock", "ssh-sftp-only"]
    return [state.port(name) for name in names]


def mentioning(word: str) -> set[int]:
    """Processes that have this word in their command or environment."""
    found = set()
    for pid in pids():
        try:
            texts = [Path(f"/proc/{pid}/{file}").read_bytes() for file in ("cmdline", "environ")]
        except OSError:
            continue
        if any(word.encode() in text for text in texts) and lives(pid):
            found.add(pid)
    return found


@contextmanager
def session_with_strays(ssh: SshServer) -> Iterator[None]:
    known = f"UserKnownHostsFile={ssh.known_hosts}"
    login = ["ssh", "-F", "none", "-i", str(ssh.key), "-o", known, "-p", str(ssh.stock.port)]
    command = [*login, f"{ssh.user}@{ssh.host}", f"echo in; {STRAY}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL) as client:
        try:
            assert client.stdout
            assert client.stdout.readline() == b"in\n"
            yield
        finally:
            client.kill()


def test_up_twice_is_the_same_and_down_leaves_nothing(
    own_services_state: State, request: pytest.FixtureRequest
) -> None:
    state = own_services_state
    cluster = started(SlurmCluster(state), request.config)
    ssh = started(SshServer(state, cluster.environment), request.config)
    daemons = [*cluster.daemons, *ssh.daemons]
    before = [daemon.pid for daemon in daemons]
    again: list[SlurmCluster | SshServer] = [SlurmCluster(state), SshServer(state)]
    for server in again:
        server.up()
        assert server.is_up
    assert [daemon.pid for server in again for daemon in server.daemons] == before

    of_root = cluster.run("sbatch", "--parsable", "--output=/dev/null", input=STRAY).strip()
    for job in (submit(cluster, STRAY), of_root):
        wait_for(cluster, job, "RUNNING")
    with session_with_strays(ssh):
        ports, name, uid = ports_of(state), state.account.name, state.account.uid
        assert all(map(listens, ports))
        cluster.slurmctld.kill()  # so that jobs cannot be cancelled
        cluster.slurmd.freeze()
        for server in again:
            server.down()
        assert not ssh.stock.connections()
        state.remove()
    assert not any(map(listens, ports))
    assert not of_user(uid)
    assert not mentioning(f"{state.directory}/")
    assert not state.directory.exists()
    assert not list(Path("/sys/fs/cgroup").glob(f"*/slurm_{cluster.node}"))
    with pytest.raises(KeyError):
        pwd.getpwnam(name)


def test_servers_of_a_session_that_was_killed_are_cleared_away(
    own_services_state: State, request: pytest.FixtureRequest
) -> None:
    with subprocess.Popen(["sleep", "0"]) as ended:
        pass
    directory = own_services_state.directory.with_name(f"{PREFIX}{ended.pid}-1-shared")
    left = started(SshServer(State(directory)), request.config)
    living = started(SshServer(own_services_state), request.config)
    clear_leftovers()
    assert not directory.exists()
    assert [daemon.pid for daemon in left.daemons] == [None] * 3
    assert living.is_up


def pytest_in(directory: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Tests of SSH where temporary directories are closed to other users, so that it cannot be started."""
    directory.chmod(0o700)
    without = {name: value for name, value in os.environ.items() if name not in REQUIRING}
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "tests/services/test_sshd.py", "-k", "without_a_shell"],
        env={**without, "TMPDIR": str(directory), **environment},
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


REQUIRING = ("CI", "BARTENDER_TESTS_REQUIRE_ALL")


def test_tests_without_their_server_are_skipped_aloud(tmp_path: Path) -> None:
    result = pytest_in(tmp_path)
    assert result.returncode == 0, result.stdout
    assert "1 skipped" in result.stdout
    assert "NOT ALL TESTS WERE RUN: " in result.stdout


def test_tests_without_their_server_fail_where_all_are_required(tmp_path: Path) -> None:
    result = pytest_in(tmp_path, BARTENDER_TESTS_REQUIRE_ALL="1")
    assert result.returncode == 1, result.stdout
    assert "All tests have to run here" in result.stdout


def test_the_command_line(own_services_state: State, request: pytest.FixtureRequest) -> None:
    started(SshServer(own_services_state), request.config).down()

    def services(*arguments: str) -> "subprocess.CompletedProcess[str]":
        command = [sys.executable, "-m", "tests.services", *arguments, "ssh"]
        state = ["--state", str(own_services_state.directory)]
        directory = Path(__file__).parents[2]
        return subprocess.run([*command, *state], cwd=directory, capture_output=True, text=True, check=False)

    assert services("status").returncode == 1
    said = services("up").stdout
    assert services("status").stdout == "ssh is up.\n"
    login = said.split("Log in: ")[1].split()
    result = subprocess.run([*login, "echo", "hello"], capture_output=True, text=True, check=True)
    assert result.stdout == "hello\n"
    assert services("down").stdout == "ssh is down.\n"
    assert services("status").returncode == 1
    assert not own_services_state.directory.exists()
