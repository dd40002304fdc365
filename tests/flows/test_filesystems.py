"""The contract of every filesystem. A new one joins by an entry in FILESYSTEMS."""

from pathlib import Path
from typing import Any

import pytest

from flows import filesystems
from flows.connections import Connections
from flows.filesystems import Filesystem
from flows.places import Place
from flows.surroundings import Surroundings

FILESYSTEMS: dict[str, dict[str, Any]] = {"local": {}}

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"


@pytest.fixture(params=FILESYSTEMS)
def filesystem(request: pytest.FixtureRequest, tmp_path: Path) -> Filesystem:
    kind = str(request.param)
    config = filesystems.configuration(kind).model_validate({"type": kind, **FILESYSTEMS[kind]})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    return filesystems.create(config, Surroundings(place, "here", Connections()))


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    (directory / "data").mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    (directory / "data/ü b").write_bytes(bytes(range(256)))
    return directory


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
