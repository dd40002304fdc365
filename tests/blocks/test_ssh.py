"""The block of SSH credentials, as Prefect's standards want it, and what it lets in."""

import logging
import subprocess
from collections.abc import Iterator
from pathlib import Path

import asyncssh
import pytest
from prefect.blocks.core import Block
from prefect.testing.standard_test_suites.blocks import BlockStandardTestSuite
from pydantic import SecretStr, ValidationError

from blocks import SshCredentials
from tests.services.processes import wait_until
from tests.services.sshd import SshServer

PASSPHRASE = "open sesame"


@pytest.fixture
def right(ssh_server: SshServer) -> dict[str, object]:
    """Keys of a block that works."""
    return {
        "host": ssh_server.host,
        "port": ssh_server.roomy.port,
        "user": ssh_server.user,
        "password": ssh_server.password,
        "known_hosts": ssh_server.known_hosts,
    }


def public(key: Path) -> str:
    return " ".join(key.with_suffix(".pub").read_text().split()[:2])


async def whoami(**keys: object) -> str:
    async with SshCredentials.model_validate(keys).connect() as connection:
        return str((await connection.run("whoami", check=True)).stdout).strip()


class TestStandards(BlockStandardTestSuite):
    test_has_a_valid_image = None  # type: ignore[assignment] # it would fetch a logo from the internet

    @pytest.fixture
    def block(self) -> type[Block]:
        return SshCredentials

    def test_secrets(self) -> None:
        assert set(SshCredentials.model_json_schema()["secret_fields"]) == {
            "password",
            "private_key",
            "passphrase",
        }


def test_secrets_are_not_shown() -> None:
    block = SshCredentials(host="h", password=SecretStr("hush"), private_key=SecretStr("hush hush"))
    assert "hush" not in f"{block!r} {block} {block.model_dump_json()}"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"host_key": "ssh-rsa nonsense"}, "not a public key"),
        ({"passphrase": "hush"}, "without private_key"),
        ({"known_hosts": "/x", "insecure": True}, "insecure"),
    ],
)
def test_contradictions_are_refused_without_secrets(keys: dict[str, object], text: str) -> None:
    with pytest.raises(ValidationError, match=text) as caught:
        SshCredentials.model_validate({"host": "h", "password": "hush", **keys})
    assert "hush" not in str(caught.value)


async def test_password(right: dict[str, object], ssh_server: SshServer) -> None:
    assert await whoami(**right) == ssh_server.user


async def test_wrong_password(right: dict[str, object]) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await whoami(**right | {"password": "wrong"})


async def test_key(right: dict[str, object], ssh_server: SshServer) -> None:
    keys = right | {"password": None, "private_key": ssh_server.key.read_text()}
    assert await whoami(**keys) == ssh_server.user


async def test_key_with_passphrase(right: dict[str, object], ssh_server: SshServer) -> None:
    key = asyncssh.read_private_key(ssh_server.key).export_private_key(passphrase=PASSPHRASE).decode()
    keys = right | {"password": None, "private_key": key}
    assert await whoami(**keys, passphrase=PASSPHRASE) == ssh_server.user
    with pytest.raises(asyncssh.KeyEncryptionError):
        await whoami(**keys, passphrase="wrong")
    with pytest.raises(asyncssh.KeyImportError):
        await whoami(**keys)


async def test_agent(right: dict[str, object], ssh_server: SshServer, agent: Path) -> None:
    assert await whoami(**right | {"password": None}) == ssh_server.user


@pytest.fixture
def agent(ssh_server: SshServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    socket = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
    try:
        wait_until(lambda: socket.exists() or process.poll() is not None, "the agent listens")
        assert process.poll() is None
        monkeypatch.setenv("SSH_AUTH_SOCK", str(socket))
        monkeypatch.setenv("HOME", str(tmp_path))
        subprocess.run(["ssh-add", "-q", ssh_server.key], check=True)
        yield socket
    finally:
        process.kill()
        process.wait()


async def test_pinned_host_key(right: dict[str, object], ssh_server: SshServer) -> None:
    keys = right | {"known_hosts": None}
    assert await whoami(**keys, host_key=public(ssh_server.host_key)) == ssh_server.user
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await whoami(**keys, host_key=public(ssh_server.key))


async def test_a_host_that_is_not_known(
    right: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (empty := tmp_path / "known_hosts").write_text("")
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await whoami(**right | {"known_hosts": empty})
    monkeypatch.setenv("HOME", str(tmp_path))  # has no .ssh
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await whoami(**right | {"known_hosts": None})


async def test_the_users_known_hosts(
    right: dict[str, object], ssh_server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/known_hosts").write_bytes(ssh_server.known_hosts.read_bytes())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert await whoami(**right | {"known_hosts": None}) == ssh_server.user


async def test_insecure_is_loud(
    right: dict[str, object], ssh_server: SshServer, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert await whoami(**right | {"known_hosts": None, "insecure": True}) == ssh_server.user
    assert "NOT checked" in caplog.text
