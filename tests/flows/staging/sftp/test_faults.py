"""The filesystem sftp on servers that are killed, frozen, or lose files."""

import asyncio
import shutil
import signal
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from flows.destinations.filesystem import Filesystem
from flows.errors import StagingFailed, Unavailable
from tests.flows.staging.sftp.remote import MIB, TOKEN, Proxy, big, digest, some_bytes_in
from tests.services.processes import send
from tests.services.sshd import Sshd
from tests.waiting import until, until_it_works


async def test_killed_in_the_middle_of_stage_in(
    filesystem: Filesystem, sshd: Sshd, entry: Path, job_dir: Path
) -> None:
    sent = big(job_dir / "big", 100)
    staging = asyncio.create_task(filesystem.stage_in(job_dir, TOKEN))
    await until(some_bytes_in(entry, f".{TOKEN}.draft.*"))
    await asyncio.to_thread(sshd.crash)
    with pytest.raises(Unavailable):
        await staging
    assert not (entry / TOKEN).exists()
    await asyncio.to_thread(sshd.start)
    remote = await until_it_works(lambda: filesystem.stage_in(job_dir, TOKEN))
    assert digest(remote / "big") == sent
    assert not list(entry.glob(f".{TOKEN}.draft.*"))


async def test_killed_in_the_middle_of_stage_out(filesystem: Filesystem, sshd: Sshd, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    made = big(remote / "big", 100)
    staging = asyncio.create_task(filesystem.stage_out(job_dir, TOKEN))
    await until(some_bytes_in(job_dir.parent, f".{TOKEN}.draft/*"))
    await asyncio.to_thread(sshd.crash)
    with pytest.raises(Unavailable):
        await staging
    assert [path.name for path in job_dir.iterdir()] == ["README.md"]
    await asyncio.to_thread(sshd.start)
    await until_it_works(lambda: filesystem.stage_out(job_dir, TOKEN))
    assert digest(job_dir / "big") == made
    assert [path.name for path in job_dir.parent.iterdir()] == ["1"]


async def test_frozen_in_the_middle(
    filesystem: Filesystem,
    sshd: Sshd,
    entry: Path,
    job_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("blocks.ssh.KEEPALIVE_SECONDS", 0.5)
    sent = big(job_dir / "big", 100)
    staging = asyncio.create_task(filesystem.stage_in(job_dir, TOKEN))
    await until(some_bytes_in(entry, f".{TOKEN}.draft.*"))
    frozen = sshd.connections()
    send(frozen, signal.SIGSTOP)
    with pytest.raises(Unavailable):
        await staging
    remote = await until_it_works(lambda: filesystem.stage_in(job_dir, TOKEN))
    assert digest(remote / "big") == sent
    send(frozen, signal.SIGCONT)


async def test_cancelled_in_the_middle(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    made = big(remote / "big", 100)
    staging = asyncio.create_task(filesystem.stage_out(job_dir, TOKEN))
    await until(some_bytes_in(job_dir.parent, f".{TOKEN}.draft/*"))
    staging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staging
    [draft] = job_dir.with_name(f".{TOKEN}.draft").glob("*/big")
    size = draft.stat().st_size
    assert size < 100 * MIB
    await filesystem.stage_out(job_dir, TOKEN)
    assert digest(job_dir / "big") == made


async def test_what_has_arrived_is_not_sent_again(
    filesystem: Filesystem, proxy: Proxy, job_dir: Path
) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    made = [big(remote / f"big{n}", 10) for n in range(4)]
    proxy.cut_at = proxy.passed + 35 * MIB
    with pytest.raises(Unavailable):
        await filesystem.stage_out(job_dir, TOKEN)
    drafts = job_dir.with_name(f".{TOKEN}.draft")
    arrived = [path for path in drafts.glob("*/*") if path.stat().st_mtime_ns]
    whole = sum(digest(path) in made for path in arrived)
    before = proxy.passed
    await until_it_works(lambda: filesystem.stage_out(job_dir, TOKEN))
    assert [digest(job_dir / f"big{n}") for n in range(4)] == made
    assert proxy.passed - before < (4 - whole) * 10 * MIB + 2 * MIB


@pytest.mark.parametrize("cut_at", [3_000, 60_000, 600_000])
async def test_a_connection_that_is_cut_anywhere(
    filesystem: Filesystem, proxy: Proxy, job_dir: Path, cut_at: int
) -> None:
    """Each time after some more bytes, until nothing is left to cut."""
    for n in range(200):
        (job_dir / f"in{n}").write_bytes(bytes([n]) * 5000)
    for step in range(3):
        proxy.cut_at = proxy.passed + cut_at * (step + 1)
        remote = await until_it_works(lambda: filesystem.stage_in(job_dir, TOKEN))
    for n in range(200):
        (remote / f"out{n}").write_bytes(bytes([n]) * 5000)
    for step in range(3):
        proxy.cut_at = proxy.passed + cut_at * (step + 1)
        await until_it_works(lambda: filesystem.stage_out(job_dir, TOKEN))
    for n in range(200):
        assert (job_dir / f"out{n}").read_bytes() == bytes([n]) * 5000


async def test_gone_there(filesystem: Filesystem, entry: Path, job_dir: Path) -> None:
    with pytest.raises(Unavailable):  # as when a disk is not mounted
        await filesystem.stage_out(job_dir, TOKEN)
    entry.mkdir()
    shutil.chown(entry, entry.parent.stat().st_uid)
    with pytest.raises(StagingFailed, match="gone"):
        await filesystem.stage_out(job_dir, TOKEN)
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "stdout.txt").write_text("done")
    await filesystem.stage_out(job_dir, TOKEN)
    await filesystem.remove(job_dir, TOKEN)
    # The crash came before that was written down.
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "stdout.txt").read_text() == "done"


async def test_outputs_that_cannot_be_read_are_named_and_the_others_come(
    filesystem: Filesystem, job_dir: Path
) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "good").write_text("good")
    (remote / "bad").write_text("bad")
    (remote / "bad").chmod(0)  # and it is root's
    with pytest.raises(StagingFailed, match="bad"):
        await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "good").read_text() == "good"


async def test_files_that_never_stop_growing(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "good").write_text("good")
    stop = threading.Event()

    def grow() -> None:
        with (remote / "log").open("ab") as log:
            while not stop.is_set():
                log.write(b"x" * 100)
                log.flush()

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        await until(lambda: (remote / "log").exists())
        with suppress(StagingFailed):
            await filesystem.stage_out(job_dir, TOKEN)
    finally:
        stop.set()
        growing.join()
    assert (job_dir / "good").read_text() == "good"
    await filesystem.stage_out(job_dir, TOKEN)
    assert digest(job_dir / "log") == digest(remote / "log")
