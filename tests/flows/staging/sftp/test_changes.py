"""What the filesystem sftp moves, and what it need not."""

import os
import secrets
from pathlib import Path

import pytest

from flows.destinations.filesystem import Filesystem
from tests.flows.staging.sftp.remote import MIB, TOKEN, Proxy, big, digest


def peak_memory() -> int:
    """Bytes, since the last time that this was asked."""
    status = Path("/proc/self/status").read_text()
    peak = int(status.partition("VmHWM:")[2].split()[0]) << 10
    Path("/proc/self/clear_refs").write_text("5")
    return peak


async def test_many_small_files_and_a_large_one_in_little_memory(
    filesystem: Filesystem, job_dir: Path
) -> None:
    for n in range(2000):
        (job_dir / f"in{n}").write_bytes(secrets.token_bytes(4096))
    sent = big(job_dir / "big in", 200)
    peak_memory()
    before = peak_memory()
    remote = await filesystem.stage_in(job_dir, TOKEN)
    assert digest(remote / "big in") == sent
    assert all((remote / f"in{n}").read_bytes() == (job_dir / f"in{n}").read_bytes() for n in range(2000))
    for n in range(2000):
        (remote / f"out{n}").write_bytes(secrets.token_bytes(4096))
    made = big(remote / "big out", 200)
    await filesystem.stage_out(job_dir, TOKEN)
    assert peak_memory() - before < 100 * MIB
    assert digest(job_dir / "big out") == made
    assert all((remote / f"out{n}").read_bytes() == (job_dir / f"out{n}").read_bytes() for n in range(2000))


async def test_inputs_that_did_not_change_stay_where_they_are(
    filesystem: Filesystem, proxy: Proxy, job_dir: Path
) -> None:
    big(job_dir / "big", 50)
    (job_dir / "deleted").write_text("x")
    before = (job_dir / "big").stat()
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "deleted").unlink()
    (remote / "result").write_text("42")
    passed = proxy.passed
    await filesystem.stage_out(job_dir, TOKEN)
    assert proxy.passed - passed < 100_000
    after = (job_dir / "big").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert (job_dir / "deleted").read_text() == "x"
    assert (job_dir / "result").read_text() == "42"


@pytest.mark.parametrize("sshd", ["stock"], indirect=True)  # SFTP tells nothing but the size and that time
async def test_a_change_that_hides_comes_back(filesystem: Filesystem, job_dir: Path) -> None:
    """As many bytes, and the time of before."""
    remote = await filesystem.stage_in(job_dir, TOKEN)
    before = (remote / "README.md").stat()
    (remote / "README.md").write_text("HELLO\n")
    os.utime(remote / "README.md", ns=(before.st_atime_ns, before.st_mtime_ns))
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "README.md").read_text() == "HELLO\n"
