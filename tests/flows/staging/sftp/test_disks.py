"""The filesystem sftp where disks are full, or cannot be written."""

import subprocess
from pathlib import Path

import pytest

from flows.destinations.filesystem import Filesystem
from flows.errors import StagingFailed, Unavailable
from tests.flows.staging.sftp.remote import TOKEN, big, opened
from tests.services.sshd import Sshd, SshServer


async def test_full_there(filesystem: Filesystem, ssh_server: SshServer, entry: Path, job_dir: Path) -> None:
    entry.mkdir()
    uid = ssh_server.home.stat().st_uid
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=4m,uid={uid}", "none", entry], check=True)
    big(job_dir / "big", 8)
    for n in range(3000):
        (job_dir / f"small{n}").write_bytes(b"x" * 2000)
    with pytest.raises(StagingFailed, match="disk is full"):
        await filesystem.stage_in(job_dir, TOKEN)
    assert not (entry / TOKEN).exists()
    await filesystem.remove(job_dir, TOKEN)
    assert list(entry.iterdir()) == []


async def test_full_here(filesystem: Filesystem, job_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    big(remote / "big", 8)
    here = job_dir.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", here], check=True)
    try:
        job_dir.mkdir()
        with pytest.raises(Unavailable, match="no room for the outputs"):
            await filesystem.stage_out(job_dir, TOKEN)
        monkeypatch.setattr("flows.staging.landing.MIN_FREE", -(1 << 40))
        with pytest.raises(Unavailable, match="server's disk is full"):
            await filesystem.stage_out(job_dir, TOKEN)
        subprocess.run(["mount", "-o", "remount,size=20m", here], check=True)
        await filesystem.stage_out(job_dir, TOKEN)
        assert (job_dir / "big").read_bytes() == (remote / "big").read_bytes()
    finally:
        subprocess.run(["umount", "--lazy", here], check=True)


async def test_a_directory_that_cannot_be_written(
    ssh_server: SshServer, sshd: Sshd, tmp_path: Path, job_dir: Path
) -> None:
    async with opened(ssh_server, sshd.port, Path("/usr/jobs"), tmp_path) as filesystem:
        with pytest.raises(StagingFailed, match="Permission denied"):
            await filesystem.stage_in(job_dir, TOKEN)
