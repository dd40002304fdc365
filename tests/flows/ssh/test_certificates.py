"""Machines that take only keys with a certificate of their centre's authority."""

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from blocks import SshCredentials
from flows.errors import Unavailable
from flows.ssh.config import SshConfig
from flows.ssh.connections import Connections
from tests.services.sshd import Sshd, SshServer, make_key

Sign = Callable[..., Path]


@pytest.fixture
def authority(tmp_path: Path) -> Path:
    make_key(path := tmp_path / "authority")
    return path


@pytest.fixture
def key(tmp_path: Path) -> Path:
    make_key(path := tmp_path / "id")
    return path


@pytest.fixture
def sign(authority: Path, key: Path, ssh_server: SshServer) -> Sign:
    """Make a certificate beside the key, where OpenSSH puts it."""

    def sign(valid: str = "-1h:+1h", principal: str = "", by: Path = authority, of: Path = key) -> Path:
        names = ["-I", "me", "-n", principal or ssh_server.user, "-V", valid]
        command = ["ssh-keygen", "-q", "-s", str(by), *names, str(of.with_suffix(".pub"))]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        return of.with_name(f"{of.name}-cert.pub")

    return sign


@pytest.fixture
def sshd(ssh_server: SshServer, authority: Path, tmp_path: Path) -> Iterator[Sshd]:
    trusted = ssh_server.directory / "authority.pub"
    trusted.write_bytes(authority.with_suffix(".pub").read_bytes())
    only = f"TrustedUserCAKeys {trusted}\nAuthorizedKeysFile none\nPasswordAuthentication no\n"
    with ssh_server.another("certified", only) as sshd:
        yield sshd


async def whoami(connections: Connections, server: SshServer, sshd: Sshd, **keys: Any) -> str:
    config = SshConfig.model_validate(server.pinned(sshd) | keys)
    return (await connections.ssh_host(config).run("whoami")).stdout.strip()


async def test_the_certificate_beside_the_key(
    connections: Connections, ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign
) -> None:
    sign()
    assert await whoami(connections, ssh_server, sshd, private_key=str(key)) == ssh_server.user
    await connections.close()


async def test_a_certificate_elsewhere(
    connections: Connections, ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign, tmp_path: Path
) -> None:
    elsewhere = sign().rename(tmp_path / "of today")
    keys = {"private_key": str(key), "certificate": str(elsewhere)}
    assert await whoami(connections, ssh_server, sshd, **keys) == ssh_server.user
    await connections.close()


async def test_a_new_certificate_is_used_at_the_next_connecting(
    ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign
) -> None:
    sign("-2h:-1h")
    config = SshConfig.model_validate(ssh_server.pinned(sshd, private_key=str(key)))
    old, new = Connections(), Connections()
    with pytest.raises(Unavailable, match=r"certificate is of no use \(Certificate expired\), get a new one"):
        await old.ssh_host(config).run("true")
    sign()
    assert (await new.ssh_host(config).run("echo on")).stdout == "on\n"
    await old.close()
    await new.close()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"valid": "-2h:-1h"}, "Certificate expired"),
        ({"valid": "+1h:+2h"}, "Certificate not yet valid"),
        ({"principal": "somebody-else"}, "principal mismatch"),
    ],
)
async def test_what_is_wrong_with_a_certificate_is_said(
    connections: Connections,
    ssh_server: SshServer,
    sshd: Sshd,
    key: Path,
    sign: Sign,
    how: dict[str, str],
    text: str,
) -> None:
    sign(**how)
    with pytest.raises(Unavailable, match=f"refuses the login: the certificate is of no use .*{text}"):
        await whoami(connections, ssh_server, sshd, private_key=str(key))


async def test_a_certificate_that_others_have_signed(
    connections: Connections, ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign
) -> None:
    sign(by=key)
    with pytest.raises(Unavailable, match="refuses the login: check user, password, key or certificate"):
        await whoami(connections, ssh_server, sshd, private_key=str(key))


async def test_a_certificate_of_another_key(
    connections: Connections, ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign, tmp_path: Path
) -> None:
    make_key(other := tmp_path / "other")
    certificate = sign(of=other)
    with pytest.raises(Unavailable, match="certificate does not belong to the private key"):
        await whoami(connections, ssh_server, sshd, private_key=str(key), certificate=str(certificate))


@pytest.mark.parametrize("content", ["", "ssh-ed25519 AAAA", "nonsense"])
async def test_a_file_that_is_no_certificate(
    connections: Connections, ssh_server: SshServer, sshd: Sshd, key: Path, content: str
) -> None:
    key.with_name("id-cert.pub").write_text(content)
    with pytest.raises(Unavailable, match="is not a certificate"):
        await whoami(connections, ssh_server, sshd, private_key=str(key))


async def test_by_a_block(ssh_server: SshServer, sshd: Sshd, key: Path, sign: Sign) -> None:
    block = SshCredentials.model_validate(
        {
            "host": ssh_server.host,
            "port": sshd.port,
            "user": ssh_server.user,
            "private_key": key.read_text(),
            "certificate": sign().read_text(),
            "host_key": ssh_server.pinned(sshd)["host_key"],
        }
    )
    async with block.connect() as connection:
        assert (await connection.run("whoami", check=True)).stdout == f"{ssh_server.user}\n"


async def test_a_key_alone_is_as_before(connections: Connections, ssh_server: SshServer) -> None:
    """Where the other side takes keys, a certificate beside them does no harm, whatever is wrong with it."""
    certificate = ssh_server.key.with_name(f"{ssh_server.key.name}-cert.pub")
    command = ["ssh-keygen", "-q", "-s", str(ssh_server.host_key), "-I", "me", "-V", "-2h:-1h"]
    subprocess.run([*command, str(ssh_server.key.with_suffix(".pub"))], check=True, stdin=subprocess.DEVNULL)
    try:
        assert await whoami(connections, ssh_server, ssh_server.stock) == ssh_server.user
    finally:
        certificate.unlink()


async def test_the_authority_of_a_machines_key(
    connections: Connections, ssh_server: SshServer, authority: Path, tmp_path: Path
) -> None:
    """Centres sign their login nodes' keys too: known_hosts has the authority only."""
    make_key(host := ssh_server.directory / "signed_host_key")
    names = ["-h", "-I", "login", "-n", ssh_server.host]
    command = ["ssh-keygen", "-q", "-s", str(authority), *names, str(host.with_suffix(".pub"))]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    certificate = host.with_name("signed_host_key-cert.pub")
    options = f"HostKey {host}\nHostCertificate {certificate}\n"
    with ssh_server.another("signed", options) as sshd:
        known = tmp_path / "known_hosts"
        public = authority.with_suffix(".pub").read_text()
        known.write_text(f"@cert-authority [{ssh_server.host}]:{sshd.port} {public}")
        keys = ssh_server.login(sshd) | {"known_hosts": str(known)}
        done = await connections.ssh_host(SshConfig.model_validate(keys)).run("echo on")
        assert done.stdout == "on\n"
        await connections.close()


def test_a_certificate_without_its_key() -> None:
    with pytest.raises(ValueError, match="certificate without private_key"):
        SshConfig.model_validate({"hostname": "h", "certificate": "/c"})
