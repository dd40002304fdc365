"""Files that land while a process that was given up wakes and goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.errors import Unavailable
from flows.staging.landing import Landing
from flows.staging.listing import DIRECTORY, FILE, LINK, Entry, Listing
from tests.flows.staging.sftp.remote import TOKEN

WHOLE = b"the whole output"
THERE: Listing = {
    "deep": Entry(DIRECTORY),
    "deep/file": Entry(FILE, len(WHOLE), mtime=10**9),
    "file": Entry(FILE, len(WHOLE), mtime=10**9),
    "link": Entry(LINK, target="file"),
}


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "1"
    directory.mkdir()
    return directory


def receive_all(landing: Landing) -> None:
    for name, entry in landing.wanted(THERE, {}).items():
        landing.receive(name, entry, [WHOLE])


@pytest.mark.parametrize("name", ["file", "deep/file"])
def test_who_wakes_breaks_nothing_of_the_next_attempt(job_dir: Path, name: str) -> None:
    frozen, other = Landing(job_dir, TOKEN), Landing(job_dir, TOKEN)
    frozen.wanted(THERE, {})
    receive_all(other)
    with pytest.raises(Unavailable):
        frozen.receive(name, THERE[name], [WHOLE[:3]])
    other.merge(THERE)
    assert (job_dir / name).read_bytes() == WHOLE
    assert [path.name for path in job_dir.parent.iterdir()] == ["1"]


def test_in_the_middle_of_a_file(job_dir: Path) -> None:
    frozen, other = Landing(job_dir, TOKEN), Landing(job_dir, TOKEN)
    frozen.wanted(THERE, {})

    def content() -> Iterator[bytes]:
        yield WHOLE[:3]
        receive_all(other)
        yield WHOLE[3:]

    with pytest.raises(Unavailable):
        frozen.receive("file", THERE["file"], content())
    other.merge(THERE)
    assert (job_dir / "file").read_bytes() == WHOLE


def test_who_wakes_does_not_merge(job_dir: Path) -> None:
    frozen, other = Landing(job_dir, TOKEN), Landing(job_dir, TOKEN)
    receive_all(frozen)
    other.wanted(THERE, {})
    with pytest.raises(Unavailable):
        frozen.merge(THERE)
    other.merge(THERE)
    assert (job_dir / "file").read_bytes() == WHOLE  # it had arrived as a whole
    assert (job_dir / "link").readlink() == Path("file")
