"""The filesystem sftp on a machine, and with inputs, that mean harm."""

import io
import os
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.destinations.filesystem import Filesystem
from flows.errors import StagingFailed, Unavailable
from tests.flows.staging.sftp.remote import MIB, TOKEN, hand_over, opened
from tests.services.sshd import SshServer


async def test_links_that_lead_out_do_not_come(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "dir").mkdir()
    links = {
        "absolute": "/etc/passwd",
        "up": "../other",
        "dir/up": "../../other",
        "dot": ".",
        "hidden": "dot/../../other",
        "good": "dir/../README.md",
        "dir/good": "../README.md",
        "dangling": "nowhere",
    }
    for name, target in links.items():
        (remote / name).symlink_to(target)
    os.mkfifo(remote / "fifo")
    hand_over(remote)
    await filesystem.stage_out(job_dir, TOKEN)
    come = {str(path.relative_to(job_dir)) for path in job_dir.rglob("*") if path.is_symlink()}
    assert come == {"dot", "dir/good", "dangling"}
    assert not (job_dir / "fifo").exists()
    assert (job_dir / "dir/good").read_text() == "hello\n"


async def test_a_link_in_the_place_of_a_directory(filesystem: Filesystem, job_dir: Path) -> None:
    (job_dir / "data").mkdir()
    (job_dir / "data/file").write_text("x")
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "data").rename(remote / "moved")
    (remote / "data").symlink_to("moved")
    hand_over(remote)
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "data").is_symlink()
    assert (job_dir / "data/file").read_text() == "x"


@pytest.mark.parametrize("target", ["/etc/passwd", "../1/x", "a/../../x"])
async def test_inputs_with_links_that_lead_out_are_refused(
    filesystem: Filesystem, entry: Path, job_dir: Path, target: str
) -> None:
    (job_dir / "link").symlink_to(target)
    with pytest.raises(StagingFailed, match="link"):
        await filesystem.stage_in(job_dir, TOKEN)
    assert not entry.exists()


async def test_inputs_with_devices_are_refused(filesystem: Filesystem, job_dir: Path) -> None:
    os.mkfifo(job_dir / "fifo")
    with pytest.raises(StagingFailed, match="fifo"):
        await filesystem.stage_in(job_dir, TOKEN)


@pytest.fixture
def false_tar(ssh_server: SshServer) -> Iterator[Path]:
    """A program of this name comes first for the account; it begins as its login, with some noise."""
    (bin_dir := ssh_server.home / "false").mkdir()
    bashrc = ssh_server.home / ".bashrc"
    before = bashrc.read_bytes() if bashrc.exists() else b""
    bashrc.write_text(f"echo Welcome; echo no tar here: Permission denied >&2; PATH={bin_dir}:$PATH\n")
    yield bin_dir / "tar"
    bashrc.write_bytes(before)
    shutil.rmtree(bin_dir)


async def test_outputs_come_in_large_records(
    ssh_server: SshServer, false_tar: Path, entry: Path, tmp_path: Path, job_dir: Path
) -> None:
    """tar writes one record at a time, of 10 KiB if it is not told otherwise, and each becomes a packet."""
    async with opened(ssh_server, ssh_server.roomy.port, entry, tmp_path) as filesystem:
        remote = await filesystem.stage_in(job_dir, TOKEN)
        (remote / "result").write_text("42")
        false_tar.write_text(f'#!/bin/sh\n{shutil.which("tar")} "$@" | tee {entry}/stream\n')
        false_tar.chmod(0o755)
        await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "result").read_text() == "42"
    # The last record is filled up.
    size = (entry / "stream").stat().st_size
    assert size > 0
    assert size % (32 << 10) == 0


def hostile(path: Path, name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> None:
    with tarfile.open(path, "w") as archive:
        member = tarfile.TarInfo(name)
        member.type, member.linkname, member.size = kind, "/etc", size
        archive.addfile(member, io.BytesIO(bytes(size)))


@pytest.mark.parametrize(
    ("name", "kind", "size"),
    [
        ("../escaped", tarfile.REGTYPE, 0),
        ("/tmp/escaped", tarfile.REGTYPE, 0),
        ("./result", tarfile.SYMTYPE, 0),
        ("./other", tarfile.REGTYPE, 0),
        ("./result", tarfile.LNKTYPE, 0),
        ("./result", tarfile.CHRTYPE, 0),
        ("./result", tarfile.REGTYPE, 30 * MIB),
    ],
)
async def test_a_hostile_tar(
    ssh_server: SshServer,
    false_tar: Path,
    entry: Path,
    tmp_path: Path,
    job_dir: Path,
    name: str,
    kind: bytes,
    size: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with opened(ssh_server, ssh_server.roomy.port, entry, tmp_path) as filesystem:
        remote = await filesystem.stage_in(job_dir, TOKEN)
        (remote / "result").write_text("42")
        hostile(entry / "evil.tar", name, kind, size)
        monkeypatch.setattr("flows.staging.by_shell._GROWTH", MIB)
        false_tar.write_text(f"#!/bin/sh\nexec cat {entry / 'evil.tar'}\n")
        false_tar.chmod(0o755)
        with pytest.raises(Unavailable):
            await filesystem.stage_out(job_dir, TOKEN)
        assert {path.name for path in job_dir.iterdir()} == {"README.md"}
        assert {path.name for path in job_dir.parent.iterdir()} == {"1", f".{TOKEN}.draft"}
        assert not list(job_dir.with_name(f".{TOKEN}.draft").glob("*/[!r]*"))
        false_tar.unlink()
        await filesystem.stage_out(job_dir, TOKEN)  # in spite of the noise
        assert (job_dir / "result").read_text() == "42"
