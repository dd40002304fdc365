"""The contract of every filesystem. A new one joins by an entry in FILESYSTEMS.

So does a site's own, whose keys are in BARTENDER_TESTS_FILESYSTEM as YAML: ``-k own`` selects it.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from flows.destinations.filesystem import Filesystem, guard
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import FILESYSTEMS as TYPES
from flows.disk.places import Place
from flows.errors import Unavailable
from flows.ssh.connections import Connections
from tests import howto
from tests.flows.s3.playing import PlayedByObjects, use_block
from tests.flows.transfers.playing import Played
from tests.services.object_stores import BUCKET, ObjectStore
from tests.services.sshd import Sshd, SshServer
from tests.waiting import until_it_works

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"

ODD_NAMES = [
    "ü b",
    "new\nline",
    "-rf",
    "quo'te\"$(x)`",
    "back\\slash",
    "tab\t",
    " ",
    "~",
    os.fsdecode(b"\xff\xfe"),
]


@dataclass
class Remote:
    """``keys`` of the configuration; ``entry`` is where the directories of jobs are, if not here.

    ``away`` is a time without the far side; without it that is not tried. ``play`` puts a far side to it.
    """

    keys: dict[str, Any]
    entry: Path | None = None
    away: Callable[[], AbstractContextManager[None]] | None = None
    play: Callable[[Filesystem], Filesystem] = lambda filesystem: filesystem


def local(request: pytest.FixtureRequest) -> Remote:
    job_root = request.getfixturevalue("tmp_path") / "jobs"

    @contextmanager
    def away() -> Iterator[None]:
        """What it is a link to is not there."""
        job_root.symlink_to("/nowhere/jobs")
        yield
        job_root.unlink()

    return Remote({"type": "local"}, away=away)


def http(request: pytest.FixtureRequest) -> Remote:
    entry: Path = request.getfixturevalue("tmp_path") / "far"
    entry.mkdir()
    away = local(request).away
    return Remote({"type": "http"}, entry, away, lambda filesystem: Played(filesystem, entry))


def sftp_of(name: str) -> Callable[[pytest.FixtureRequest], Remote]:
    def make(request: pytest.FixtureRequest) -> Remote:
        server: SshServer = request.getfixturevalue("ssh_server")
        entry = server.home / f"jobs {secrets.token_hex(4)}"
        sshd: Sshd = getattr(server, name)
        keys = {"type": "sftp", "ssh_config": server.login(sshd), "entry": str(entry)}
        return Remote(keys, entry, sshd.away)

    return make


def of_the_how_to(request: pytest.FixtureRequest) -> Remote:
    directory: Path = request.getfixturevalue("tmp_path")
    (entry := directory / "scratch").mkdir()
    file = howto.write("new-filesystem.md", directory)

    @contextmanager
    def away() -> Iterator[None]:
        elsewhere = entry.rename(directory / "elsewhere")
        yield
        elsewhere.rename(entry)

    return Remote({"type": f"{file}:Filesystem", "directory": str(entry)}, entry, away)


def own(request: pytest.FixtureRequest) -> Remote:
    return Remote(yaml.safe_load(os.environ["BARTENDER_TESTS_FILESYSTEM"]))


def s3_of(name: str) -> Callable[[pytest.FixtureRequest], Remote]:
    def make(request: pytest.FixtureRequest) -> Remote:
        server: ObjectStore = request.getfixturevalue(name)
        use_block(request.getfixturevalue("monkeypatch"), server)
        there: Path = request.getfixturevalue("tmp_path") / "there"
        keys = {"type": "s3", "block": "store", "bucket": BUCKET, "prefix": f"p/{secrets.token_hex(4)}"}
        return Remote(keys, away=server.away, play=lambda filesystem: PlayedByObjects(filesystem, there))

    return make


FILESYSTEMS: dict[str, Callable[[pytest.FixtureRequest], Remote]] = {
    "local": local,
    "http": http,
    "sftp": sftp_of("stock"),
    "sftp only": sftp_of("sftp_only"),
    "scratch.py": of_the_how_to,
    "s3 of SeaweedFS": s3_of("seaweedfs"),
    "s3 of rclone": s3_of("rclone"),
}
if "BARTENDER_TESTS_FILESYSTEM" in os.environ:
    FILESYSTEMS["own"] = own


@pytest.fixture(params=FILESYSTEMS)
def remote(request: pytest.FixtureRequest) -> Iterator[Remote]:
    made = FILESYSTEMS[request.param](request)
    yield made
    if made.entry is not None:
        shutil.rmtree(made.entry, ignore_errors=True)


@pytest_asyncio.fixture
async def filesystem(remote: Remote, tmp_path: Path) -> AsyncIterator[Filesystem]:
    connections = Connections()
    place = Place(tmp_path / "data", tmp_path / "jobs")
    made = TYPES.configured(remote.keys, Path()).make(Surroundings(place, "here", connections))
    filesystem = remote.play(made)
    yield filesystem
    await filesystem.close()
    await connections.close()


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    (directory / "data").mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    (directory / "data/ü b").write_bytes(bytes(range(256)))
    return directory


def hand_over(directory: Path) -> None:
    """Make everything the job's user's own, as if the job had made it."""
    owner = directory.stat()
    for path in [guard(directory, TOKEN), *directory.rglob("*")]:
        if os.path.lexists(path):
            os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


async def test_there_and_back(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    assert (remote / "README.md").read_text() == "hello\n"
    (remote / "output").mkdir()
    (remote / "output/result").write_text("42")
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "output/result").read_text() == "42"
    assert (job_dir / "data/ü b").read_bytes() == bytes(range(256))


async def test_each_step_may_be_repeated(filesystem: Filesystem, job_dir: Path) -> None:
    for _ in range(2):
        await filesystem.stage_in(job_dir, TOKEN)
    for _ in range(2):
        await filesystem.stage_out(job_dir, TOKEN)
    for _ in range(2):
        await filesystem.remove(job_dir, TOKEN)
    assert (job_dir / "README.md").read_text() == "hello\n"


async def test_a_repeated_stage_in_leaves_alone_what_the_job_has_made(
    filesystem: Filesystem, job_dir: Path
) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "stdout.txt").write_text("begun")
    guard(remote, TOKEN).mkdir()
    assert await filesystem.stage_in(job_dir, TOKEN) == remote
    assert (remote / "stdout.txt").read_text() == "begun"
    assert guard(remote, TOKEN).is_dir()


async def test_odd_names_survive(filesystem: Filesystem, job_dir: Path) -> None:
    for name in ODD_NAMES:
        (job_dir / f"in {name}").write_text(name, errors="surrogateescape")
        (job_dir / f"dir {name}").mkdir()
        (job_dir / name).write_text(name, errors="surrogateescape")
    remote = await filesystem.stage_in(job_dir, TOKEN)
    for name in ODD_NAMES:
        assert (remote / f"in {name}").read_text(errors="surrogateescape") == name
        (remote / f"dir {name}" / f"out {name}").write_text(name, errors="surrogateescape")
    await filesystem.stage_out(job_dir, TOKEN)
    for name in ODD_NAMES:
        assert (job_dir / f"dir {name}" / f"out {name}").read_text(errors="surrogateescape") == name


async def test_empty_directories_executables_and_links(filesystem: Filesystem, job_dir: Path) -> None:
    (job_dir / "empty").mkdir()
    (job_dir / "run.sh").write_text("exit\n")
    (job_dir / "run.sh").chmod(0o755)
    (job_dir / "data/up").symlink_to("../README.md")
    remote = await filesystem.stage_in(job_dir, TOKEN)
    assert (remote / "empty").is_dir()
    assert os.access(remote / "run.sh", os.X_OK)
    assert (remote / "run.sh").stat().st_mode & 0o100
    assert not (remote / "README.md").stat().st_mode & 0o100
    assert (remote / "data/up").read_text() == "hello\n"
    (remote / "also empty").mkdir()
    (remote / "there").symlink_to("data")
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "also empty").is_dir()
    assert (job_dir / "there").is_symlink()
    assert (job_dir / "there/up").read_text() == "hello\n"


async def test_what_the_job_changed_comes_back(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "README.md").write_text("HELLO\n")  # as many bytes, and maybe in the same second
    (remote / "data/ü b").unlink()
    (remote / "data/ü b").mkdir()
    (remote / "data/ü b/file").write_text("in it")
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "README.md").read_text() == "HELLO\n"
    assert (job_dir / "data/ü b/file").read_text() == "in it"


async def test_what_the_job_denied_to_itself_comes_back(filesystem: Filesystem, job_dir: Path) -> None:
    remote = await filesystem.stage_in(job_dir, TOKEN)
    (remote / "denied").mkdir()
    (remote / "denied/file").write_text("x")
    (remote / "denied/file").chmod(0)
    (remote / "denied").chmod(0)
    hand_over(remote)
    await filesystem.stage_out(job_dir, TOKEN)
    assert (job_dir / "denied/file").read_text() == "x"


async def test_removed_with_all_that_was_beside_it(
    filesystem: Filesystem, remote: Remote, job_dir: Path
) -> None:
    directory = await filesystem.stage_in(job_dir, TOKEN)
    guard(directory, TOKEN).mkdir()
    (directory / "a/b/c").mkdir(parents=True)
    (directory / "a/b/c/file").write_text("x")
    (directory / "a/link").symlink_to("/etc")
    os.mkfifo(directory / "a/fifo")
    (directory / "a/b").chmod(0)
    hand_over(directory)
    await filesystem.remove(job_dir, TOKEN)
    assert not guard(directory, TOKEN).exists()
    if remote.entry is not None:
        assert list(remote.entry.iterdir()) == []
    assert (job_dir / "README.md").read_text() == "hello\n"
    assert [path.name for path in job_dir.parent.iterdir()] == ["1"]


async def test_it_can_be_reached(filesystem: Filesystem) -> None:
    await filesystem.check()


async def test_it_says_when_it_cannot_be_reached(filesystem: Filesystem, remote: Remote) -> None:
    if remote.away is None:
        pytest.skip("it cannot be taken away here")
    await filesystem.check()
    with remote.away():
        for _ in range(2):
            with pytest.raises(Unavailable):
                await filesystem.check()
    await until_it_works(filesystem.check)


async def test_it_says_so_from_the_beginning(filesystem: Filesystem, remote: Remote) -> None:
    if remote.away is None:
        pytest.skip("it cannot be taken away here")
    with remote.away(), pytest.raises(Unavailable):
        await filesystem.check()
