"""What the logins of real login nodes do: their shells, and what they print and set."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from flows.errors import Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.connections import Connections
from flows.ssh.host import SshHost
from tests.services.logins import READ_AT_LOGIN, SHELLS, login
from tests.services.sshd import SshServer

GREETINGS = {
    "a title without a newline": r"printf '\033]0;login1\007'",
    "colours": r"printf '\033[1;31mMaintenance\033[0m on Monday\n'",
    "a word without a newline": "printf Welcome",
    "what looks like a job": r"printf '4711|RUNNING|None|job\n4711\n'",
}
"""In a language that all shells understand."""

# One command is run at each login by these.
WRAPPERS = {
    "with a farewell": '/bin/sh -c "$SSH_ORIGINAL_COMMAND"; printf Bye; echo Bye >&2',
    "that loses the status": '/bin/sh -c "$SSH_ORIGINAL_COMMAND" | cat',
}


@pytest.fixture
def host(ssh_server: SshServer, connections: Connections, shells: None) -> SshHost:
    return connections.ssh_host(SshConfig.model_validate(ssh_server.login(ssh_server.stock)))


@contextmanager
def logging_in(server: SshServer, shell: str, line: str = "") -> Iterator[None]:
    name = READ_AT_LOGIN.get(shell)
    files: Mapping[str, str] = {name: f"{line}\n"} if line and name is not None else {}
    with login(server.state.account, shell, files):
        yield


async def works(host: SshHost) -> None:
    """Commands, answers and streams are as they should be."""
    done = await host.run('cat; echo "it\'s"; echo bad >&2; exit 3', input=b"in ")
    assert (done.status, done.stdout, done.stderr) == (3, "in it's\n", "bad\n")
    done = await host.run("true")
    assert (done.status, done.stdout, done.stderr) == (0, "", "")
    assert await host.streams()
    async with host.process("cat; echo 'the end'") as running:
        running.process.stdin.write(b"streamed\n")
        running.process.stdin.write_eof()
        assert await running.process.stdout.read() == b"streamed\nthe end\n"


@pytest.mark.parametrize("shell", SHELLS)
async def test_login_shells(host: SshHost, ssh_server: SshServer, shell: str) -> None:
    with logging_in(ssh_server, shell):
        await works(host)


@pytest.mark.parametrize("greeting", GREETINGS)
@pytest.mark.parametrize("shell", READ_AT_LOGIN)
async def test_what_a_login_prints_is_no_answer(
    host: SshHost, ssh_server: SshServer, shell: str, greeting: str
) -> None:
    with logging_in(ssh_server, shell, GREETINGS[greeting]):
        await works(host)


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", "set -v"),
        ("bash", "set -x"),
        ("csh", "set verbose"),
        ("tcsh", "set echo verbose"),
        ("zsh", "setopt verbose"),
        ("bash", "export CDPATH=.:$HOME TAR_OPTIONS=--verbose POSIXLY_CORRECT=1"),
    ],
)
async def test_what_a_login_sets(host: SshHost, ssh_server: SshServer, shell: str, line: str) -> None:
    with logging_in(ssh_server, shell, line):
        await works(host)


@pytest.mark.parametrize("wrapper", WRAPPERS)
async def test_commands_that_are_wrapped(
    connections: Connections, ssh_server: SshServer, wrapper: str
) -> None:
    with ssh_server.another("wrapped", f"ForceCommand {WRAPPERS[wrapper]}\n") as sshd:
        host = connections.ssh_host(SshConfig.model_validate(ssh_server.pinned(sshd)))
        done = await host.run("echo on; echo bad >&2; exit 3")
        assert (done.status, done.stdout, done.stderr) == (3, "on\n", "bad\n")
        assert not await host.streams()
        await connections.close()


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("echo 'No commands today.'; exit", 'it says "No commands today."'),
        ("exec /bin/false", "it says nothing"),
        ("read -r account", "reads what is sent to commands"),
        ("exec 2>&1", "outputs and errors of commands apart"),
        ("exec 2>/dev/null", "outputs and errors of commands apart"),
        ("export PATH=/nowhere", "lacks the commands cat, chmod"),
    ],
)
async def test_a_login_that_our_commands_cannot_live_with(
    host: SshHost, ssh_server: SshServer, line: str, text: str
) -> None:
    with logging_in(ssh_server, "bash", line), pytest.raises(Unavailable, match=text) as caught:
        await host.run("true")
    assert str(caught.value).startswith(f"{host.name} cannot run our commands: ")


async def test_it_is_looked_at_again_at_the_next_connecting(
    ssh_server: SshServer, connections: Connections, shells: None
) -> None:
    config = SshConfig.model_validate(ssh_server.login(ssh_server.stock))
    with logging_in(ssh_server, "bash", "exec /bin/false"):
        assert not await connections.ssh_host(config).streams()
        await connections.close()
    again = Connections()
    assert await again.ssh_host(config).streams()
    await again.close()


async def test_a_login_that_changes_while_we_are_connected(host: SshHost, ssh_server: SshServer) -> None:
    """What comes instead of an answer is never an empty one."""
    await works(host)
    with logging_in(ssh_server, "bash", "echo 'Maintenance.'; exit"):
        with pytest.raises(Unavailable, match=r'does not run our command; it says "Maintenance\."'):
            await host.run("squeue")
        with pytest.raises(Unavailable, match=r"Maintenance\."):
            async with host.process("echo on"):
                pass
    await works(host)


async def test_a_login_that_prints_without_end(host: SshHost, ssh_server: SshServer) -> None:
    await works(host)
    with (
        logging_in(ssh_server, "bash", "yes welcome"),
        pytest.raises(Unavailable, match="too much at the login"),
    ):
        async with host.process("echo on"):
            pass


async def test_a_greeting_in_the_way_of_sftp_is_named(
    ssh_server: SshServer, connections: Connections, shells: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.ssh.host._OPEN_SECONDS", 2.0)
    server = "/usr/lib/openssh/sftp-server"
    assert Path(server).exists()
    with (
        logging_in(ssh_server, "bash", "echo Welcome to our cluster"),
        ssh_server.another("greeting", "", server) as sshd,
    ):
        host = connections.ssh_host(SshConfig.model_validate(ssh_server.pinned(sshd)))
        with pytest.raises(Unavailable, match='"Welcome to our cluster", is in the way of SFTP'):
            async with host.sftp():
                pass
        await connections.close()


async def test_many_at_once_in_a_slow_shell(host: SshHost, ssh_server: SshServer) -> None:
    with logging_in(ssh_server, "tcsh", GREETINGS["colours"]):
        done = await asyncio.gather(*(host.run(f"echo {n}") for n in range(20)))
    assert [one.stdout for one in done] == [f"{n}\n" for n in range(20)]
