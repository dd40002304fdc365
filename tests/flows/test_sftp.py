"""The filesystem sftp on servers that are killed, frozen, full or hostile."""

import asyncio
import hashlib
import io
import os
import secrets
import shutil
import signal
import subprocess
import tarfile
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from flows import filesystems
from flows.connections import Connections
from flows.errors import StagingFailed, Unavailable
from flows.filesystems import Filesystem
from flows.places import Place
from flows.staging import listing
from flows.staging.listing import Entry, stays_inside
from flows.surroundings import Surroundings
from tests.services.processes import send
from tests.services.sshd import Sshd, SshServer
from tests.waiting import until, until_it_works

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"
MIB = 1 << 20


class Proxy:
    """Between us and a server: counts the bytes that come from it, and cuts connections after so many."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.port = 0
        self.passed = 0
        self.cut_at: int | None = None

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._pass(reader, there_writer, count=False))
        down = asyncio.create_task(self._pass(there_reader, writer, count=True))
        await asyncio.wait([up, down], return_when=asyncio.FIRST_COMPLETED)
        for task in (up, down):
            task.cancel()
        for one in (writer, there_writer):
            one.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: bool) -> None:
        while block := await reader.read(64 << 10):
            self.passed += len(block) if count else 0
            if self.cut_at is not None and self.passed > self.cut_at:
                self.cut_at = None
                return
            writer.write(block)
            await writer.drain()


@pytest.fixture(params=["stock", "sftp_only"])
def sshd(request: pytest.FixtureRequest, ssh_server: SshServer) -> Iterator[Sshd]:
    """With a shell, and without; the test may break it."""
    sshd: Sshd = getattr(ssh_server, request.param)
    yield sshd
    send(sshd.connections(), signal.SIGCONT)
    sshd.thaw()
    sshd.start()


@pytest_asyncio.fixture
async def proxy(sshd: Sshd) -> AsyncIterator[Proxy]:
    proxy = Proxy(sshd.port)
    server = await asyncio.start_server(proxy.handle, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    yield proxy
    server.close()


@pytest.fixture
def entry(ssh_server: SshServer) -> Iterator[Path]:
    entry = ssh_server.home / f"jobs-{secrets.token_hex(4)}"
    yield entry
    subprocess.run(["umount", "--lazy", entry], stderr=subprocess.DEVNULL, check=False)
    shutil.rmtree(entry, ignore_errors=True)


@asynccontextmanager
async def opened(server: SshServer, port: int, entry: Path, tmp_path: Path) -> AsyncIterator[Filesystem]:
    host_key = " ".join(server.host_key.with_suffix(".pub").read_text().split()[:2])
    keys: dict[str, Any] = {"hostname": server.host, "port": port, "username": server.user}
    keys |= {"private_key": str(server.key), "host_key": host_key}
    config = filesystems.configuration("sftp").model_validate(
        {"type": "sftp", "ssh_config": keys, "entry": str(entry)}
    )
    connections = Connections()
    place = Place(tmp_path / "data", tmp_path / "jobs")
    filesystem = filesystems.create(config, Surroundings(place, "far", connections))
    try:
        yield filesystem
    finally:
        await filesystem.close()
        await connections.close()


@pytest_asyncio.fixture
async def filesystem(
    ssh_server: SshServer, proxy: Proxy, entry: Path, tmp_path: Path
) -> AsyncIterator[Filesystem]:
    async with opened(ssh_server, proxy.port, entry, tmp_path) as filesystem:
        yield filesystem


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    directory.mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    return directory


def big(path: Path, mib: int) -> bytes:
    """Write a file that does not compress; return its hash."""
    block = secrets.token_bytes(MIB)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for n in range(mib):
            piece = n.to_bytes(8, "big") + block[8:]
            file.write(piece)
            digest.update(piece)
    return digest.digest()


def digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def hand_over(directory: Path) -> None:
    owner = directory.parent.stat()
    for path in [directory, *directory.rglob("*")]:
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def some_bytes_in(directory: Path, pattern: str) -> Callable[[], bool]:
    return lambda: any(
        path.is_file() and path.stat().st_size > MIB
        for draft in directory.glob(pattern)
        for path in draft.glob("*")
    )


# Faults


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
    await until(some_bytes_in(job_dir.parent, f".{TOKEN}.draft"))
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
    await until(some_bytes_in(job_dir.parent, f".{TOKEN}.draft"))
    staging.cancel()
    with pytest.raises(asyncio.CancelledError):
        await staging
    draft = job_dir.with_name(f".{TOKEN}.draft") / "big"
    size = draft.stat().st_size
    assert size < 100 * MIB
    await filesystem.stage_out(job_dir, TOKEN)
    assert digest(job_dir / "big") == made


async def test_what_has_arrived_is_not_sent_again(
    filesystem: Filesystem, proxy: Proxy, job_dir: Path
) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    made = [big(remote / f"big{n}", 10) for n in range(4)]
    if proxy:
        proxy.cut_at = proxy.passed + 35 * MIB
    with pytest.raises(Unavailable):
        await filesystem.stage_out(job_dir, TOKEN)
    arrived = [path for path in job_dir.with_name(f".{TOKEN}.draft").iterdir() if path.stat().st_mtime_ns]
    whole = sum(digest(path) in made for path in arrived)
    before = proxy.passed
    await until_it_works(lambda: filesystem.stage_out(job_dir, TOKEN))
    assert [digest(job_dir / f"big{n}") for n in range(4)] == made
    assert proxy.passed - before < (4 - whole) * 10 * MIB + 2 * MIB


@pytest.mark.parametrize("cut_at", [3_000, 6_000, 60_000, 600_000])
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


# Sizes


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


# What is not trusted


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
        monkeypatch.setattr("flows.staging.shell._GROWTH", MIB)
        false_tar.write_text(f"#!/bin/sh\nexec cat {entry / 'evil.tar'}\n")
        false_tar.chmod(0o755)
        with pytest.raises(Unavailable):
            await filesystem.stage_out(job_dir, TOKEN)
        assert {path.name for path in job_dir.iterdir()} == {"README.md"}
        assert {path.name for path in job_dir.parent.iterdir()} == {"1", f".{TOKEN}.draft"}
        assert not list(job_dir.with_name(f".{TOKEN}.draft").glob("[!r]*"))
        false_tar.unlink()
        await filesystem.stage_out(job_dir, TOKEN)  # in spite of the noise
        assert (job_dir / "result").read_text() == "42"


@pytest.mark.parametrize("name", ["../up", "/etc/x", "a/../../b", "", ".", "a//b", "a/./b"])
def test_listings_with_names_that_lead_out_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        listing.parse(f"f 644 1 1.0 1.0 1 {name}\0\0".encode())


def test_what_is_below_a_link_is_not_taken() -> None:
    there = {"a": Entry("l", target="b"), "a/file": Entry("f"), "b/file": Entry("f"), "c": Entry("f")}
    assert set(listing.consistent(there)) == {"a", "c"}


def test_listings_survive() -> None:
    there = {
        "a b\nc": Entry("f", 3, 1_700_000_000_123_456_789, "1.5 7", True),
        "d": Entry("d", changed=" "),
        "l": Entry("l", changed=" ", target="a b"),
        "old": Entry("f", 3, -1_500_000_000, " "),
    }
    assert listing.parse(listing.write(there)) == there
    assert listing.parse(b"") == {}


@pytest.mark.parametrize(
    ("name", "target", "stays"),
    [
        ("a", "b", True),
        ("a", "b/c", True),
        ("d/a", "../b", True),
        ("a", "../b", False),
        ("d/a", "../../b", False),
        ("d/a", "..", True),
        ("a", "", False),
        ("a", "/b", False),
        ("d/e/a", "./.././../b", True),
        ("a", "d/../b", False),
    ],
)
def test_links(name: str, target: str, stays: bool) -> None:
    assert stays_inside(name, target) is stays
