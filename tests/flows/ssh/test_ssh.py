"""Other machines by SSH: the connections, on real servers that are broken in real ways."""

import asyncio
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncssh
import pytest
from pydantic import ValidationError

from flows.configuration.config import load
from flows.errors import ConfigurationError, Unavailable, with_cause
from flows.ssh import keyscan
from flows.ssh.config import SshConfig
from flows.ssh.connections import Connections
from flows.ssh.host import SshHost
from tests.services.processes import send
from tests.services.sshd import Sshd, SshServer
from tests.waiting import until, until_it_works


def ssh_config(server: SshServer, sshd: Sshd, **more: Any) -> SshConfig:
    return SshConfig.model_validate(server.login(sshd) | more)


@pytest.fixture
def sshd(ssh_server: SshServer) -> Iterator[Sshd]:
    """One that the test may break."""
    yield ssh_server.stock
    send(ssh_server.stock.connections(), signal.SIGCONT)
    ssh_server.stock.thaw()
    ssh_server.stock.start()


@pytest.fixture
def host(ssh_server: SshServer, sshd: Sshd, connections: Connections) -> SshHost:
    return connections.ssh_host(ssh_config(ssh_server, sshd))


async def test_how_a_command_ends(host: SshHost) -> None:
    done = await host.run("printf 'ü\\n\\377'; echo bad >&2; exit 3")
    assert (done.status, done.stdout, done.stderr) == (3, "ü\n\ufffd", "bad\n")
    with pytest.raises(Unavailable, match="before its answer was complete"):
        await host.run("kill -9 $$")
    assert (await host.run("cat; pwd")).stdout.strip()  # there is nothing to read


async def test_a_command_that_ends_before_it_is_sent_what_it_could_read(
    host: SshHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    await host.run("true")  # connected
    create_process = asyncssh.SSHClientConnection.create_process

    async def slowly(*args: Any, **kwargs: Any) -> Any:
        process = await create_process(*args, **kwargs)
        await process.wait_closed()  # as on a busy machine
        return process

    monkeypatch.setattr(asyncssh.SSHClientConnection, "create_process", slowly)
    done = await host.run("echo known; exit 3", input=b"unread")
    assert (done.status, done.stdout) == (3, "known\n")


async def test_a_script_in_the_command_arrives_as_it_is(host: SshHost) -> None:
    script = "".join(f"line {n} 'quoted' \"$HOME\" `x` \\\n" for n in range(1000))
    assert (await host.run(f"cat <<'END'\n{script}END\n")).stdout == script


async def test_equal_configurations_share_a_host(ssh_server: SshServer, connections: Connections) -> None:
    one, same = (ssh_config(ssh_server, ssh_server.roomy, password="x") for _ in range(2))
    other = ssh_config(ssh_server, ssh_server.roomy, password="y")
    assert connections.host(one) is connections.host(same)
    assert connections.host(one) is not connections.host(other)
    assert connections.host(None) is connections.this_machine


async def test_a_burst_needs_one_connection_and_few_sessions(host: SshHost, sshd: Sshd) -> None:
    refused = sshd.log.read_text().count("no more sessions")
    done = await asyncio.gather(*(host.run(f"sleep 0.1; echo {n}") for n in range(50)))
    assert sshd.log.read_text().count("no more sessions") == refused
    assert [int(one.stdout) for one in done] == list(range(50))
    # A session of a user has two processes: one of root, and one of the user.
    assert len(sshd.connections()) <= 2


async def test_a_host_that_allows_fewer_sessions(ssh_server: SshServer, connections: Connections) -> None:
    with ssh_server.another("narrow", "MaxSessions 2\n") as sshd:
        host = connections.ssh_host(SshConfig.model_validate(ssh_server.pinned(sshd)))
        done = await asyncio.gather(*(host.run(f"echo {n}") for n in range(20)))
        assert [int(one.stdout) for one in done] == list(range(20))
        await connections.close()


async def test_a_command_that_takes_too_long_is_ended(host: SshHost, ssh_server: SshServer) -> None:
    (file := ssh_server.home / "slow").unlink(missing_ok=True)
    await host.run("true")  # connected
    while not file.exists() or not file.read_text():
        with pytest.raises(Unavailable, match="longer than 1 s"):
            await host.run(f"echo $$ >{file}; exec sleep 1000", seconds=1)
    pid = int(file.read_text())
    await until(lambda: not Path(f"/proc/{pid}").exists() or "Z" in Path(f"/proc/{pid}/stat").read_text())
    assert (await host.run("echo on")).stdout == "on\n"


async def test_commands_that_are_cancelled_leave_no_session(host: SshHost, sshd: Sshd) -> None:
    """More of them than there are sessions, at any moment of their lives."""
    await host.run("true")
    rng = random.Random(1)
    for _ in range(10):
        tasks = [asyncio.create_task(host.run("sleep 1000")) for _ in range(10)]
        await asyncio.sleep(rng.random() / 10)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    done = await asyncio.gather(*(host.run("echo on") for _ in range(16)))
    assert {one.stdout for one in done} == {"on\n"}


async def test_killed_while_a_command_runs(host: SshHost, sshd: Sshd, ssh_server: SshServer) -> None:
    (file := ssh_server.home / "begun").unlink(missing_ok=True)
    running = asyncio.create_task(host.run(f"touch {file}; sleep 1000"))
    await until(file.exists)
    await asyncio.to_thread(sshd.crash)
    with pytest.raises(Unavailable, match="lost"):
        await running
    with pytest.raises(Unavailable, match="does not answer"):
        await host.run("true")
    await asyncio.to_thread(sshd.start)
    assert (await until_it_works(lambda: host.run("echo on"))).stdout == "on\n"


async def test_a_connection_that_was_lost_while_idle(host: SshHost, sshd: Sshd) -> None:
    await host.run("true")
    await asyncio.to_thread(sshd.drop_connections)
    await until(lambda: not sshd.connections())
    assert (await until_it_works(lambda: host.run("echo on"))).stdout == "on\n"


async def test_frozen_while_connected(host: SshHost, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    await host.run("true")
    monkeypatch.setattr("blocks.ssh.CONNECT_SECONDS", 1.0)
    frozen = sshd.connections()
    send(frozen, signal.SIGSTOP)
    sshd.freeze()
    results = await asyncio.gather(*(host.run("true", seconds=2) for _ in range(12)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    sshd.thaw()
    monkeypatch.undo()
    # The old connection stays frozen: another one takes its place.
    assert (await until_it_works(lambda: host.run("echo on"))).stdout == "on\n"


async def test_frozen_while_connecting(host: SshHost, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("blocks.ssh.CONNECT_SECONDS", 1.0)
    sshd.freeze()
    with pytest.raises(Unavailable, match="does not answer in time"):
        await host.run("true")
    sshd.thaw()
    monkeypatch.undo()
    assert (await until_it_works(lambda: host.run("echo on"))).stdout == "on\n"


async def test_many_callers_share_an_attempt_to_connect(
    host: SshHost, sshd: Sshd, caplog: pytest.LogCaptureFixture
) -> None:
    await asyncio.to_thread(sshd.crash)
    results = await asyncio.gather(*(host.run("true") for _ in range(50)), return_exceptions=True)
    assert all(isinstance(result, Unavailable) for result in results)
    assert caplog.text.count("Trying again") <= 7  # 50 callers, some at a time, at the very most


async def test_a_caller_that_is_cancelled_takes_nobody_along(host: SshHost) -> None:
    first, second = (asyncio.create_task(host.run("echo on")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).stdout == "on\n"


@pytest.mark.parametrize(
    ("more", "text"),
    [
        ({"private_key": None, "password": "hush-hush"}, "refuses the login"),
        ({"private_key": "/nowhere/key"}, "/nowhere/key cannot be read"),
        ({"known_hosts": "/nowhere/hosts"}, "/nowhere/hosts"),
        ({"known_hosts": "/dev/null"}, "not trusted"),
        ({"port": 1}, "does not answer"),
        ({"hostname": "nobody.invalid"}, "does not answer"),
    ],
)
async def test_what_is_wrong_is_said(
    ssh_server: SshServer, connections: Connections, more: dict[str, Any], text: str
) -> None:
    host = connections.ssh_host(ssh_config(ssh_server, ssh_server.roomy, **more))
    with pytest.raises(Unavailable, match=text) as caught:
        await host.run("true")
    assert "\n" not in str(caught.value)
    assert "hush" not in f"{caught.value} {with_cause(caught.value)}"


async def test_nothing_is_left_after_close(ssh_server: SshServer) -> None:
    before = asyncio.all_tasks()
    connections = Connections()
    host = connections.ssh_host(ssh_config(ssh_server, ssh_server.stock))
    running = asyncio.create_task(host.run("sleep 1000"))
    async with host.sftp() as sftp:
        await sftp.realpath(b".")
    await until(lambda: len(ssh_server.stock.connections()) >= 2)
    waiting = [asyncio.create_task(host.run("sleep 1000")) for _ in range(20)]
    await asyncio.sleep(0)
    await connections.close()
    results = await asyncio.gather(running, *waiting, return_exceptions=True)
    assert [result for result in results if not isinstance(result, Unavailable)] == []
    await until(lambda: not ssh_server.stock.connections())
    await until(lambda: asyncio.all_tasks() <= before | {asyncio.current_task()})


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({}, "hostname"),
        ({"hostname": "h", "block": "b"}, "block and hostname"),
        ({"block": "b", "password": "hush"}, "block and password"),
        ({"hostname": "h", "passphrase": "hush"}, "passphrase without private_key"),
        ({"hostname": "h", "host_key": "ssh-rsa x"}, "not a public key"),
        ({"hostname": "h", "certificate": "/c"}, "certificate without private_key"),
        ({"hostname": "h", "proxy_jump": {"username": "u", "password": "hush"}}, "hostname"),
        ({"block": "b", "proxy_jump": {"hostname": "h", "gateway": "hush"}}, "gateway is not a known key"),
        ({"hostname": "h", "known_hosts": "/x", "insecure": True}, "insecure"),
        ({"hostname": "h", "private_key": "key"}, "absolute"),
        ({"hostname": "h", "password": "hush", "pasword": "hush"}, "pasword is not a known key"),
    ],
)
def test_contradictions_are_one_line_without_secrets(tmp_path: Path, keys: dict[str, Any], text: str) -> None:
    filesystem = {"type": "sftp", "ssh_config": keys, "entry": "/scratch"}
    destination = {"scheduler": {"type": "memory"}, "filesystem": filesystem}
    content = {"applications": {"wc": {"command_template": "wc"}}, "destinations": {"far": destination}}
    (path := tmp_path / "config.yaml").write_text(json.dumps(content))
    with pytest.raises(ConfigurationError, match=text) as caught:
        load(path)
    assert "\n" not in str(caught.value)
    assert "hush" not in str(caught.value)
    assert "destinations.far.filesystem" in str(caught.value)


def test_secrets_are_not_shown(ssh_server: SshServer) -> None:
    config = ssh_config(ssh_server, ssh_server.roomy, password="hush", passphrase="hush")
    assert "hush" not in f"{config!r} {config.model_dump_json()}"
    with pytest.raises(ValidationError):
        SshConfig.model_validate({"password": "hush"})


async def test_keyscan_prints_what_can_be_pinned(ssh_server: SshServer, connections: Connections) -> None:
    comment, key = (await keyscan.scan(ssh_server.host, ssh_server.roomy.port)).splitlines()
    assert comment.startswith("# ")
    assert "SHA256:" in comment
    host = connections.ssh_host(ssh_config(ssh_server, ssh_server.roomy, known_hosts=None, host_key=key))
    assert (await host.run("echo on")).stdout == "on\n"


async def test_keyscan_of_a_machine_that_is_away() -> None:
    with pytest.raises(ConfigurationError, match="does not answer"):
        await keyscan.scan("127.0.0.1", 1)
