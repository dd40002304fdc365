"""Files that land while a process that was given up wakes and goes on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.errors import StagingFailed, Unavailable
from flows.staging import listing
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


HERE = Entry(LINK, target=".")
OUT = Entry(LINK, target="..")


@pytest.mark.parametrize(
    "there",
    [
        {"e": HERE, "e/out": OUT},
        {"e/out": OUT, "e": HERE},
        {"e/out": OUT},
        {"e": Entry(FILE), "e/out": OUT},
        {"e": HERE, "e/deep": Entry(DIRECTORY), "e/deep/out": OUT},
    ],
)
def test_nothing_leads_through_a_link(job_dir: Path, there: Listing) -> None:
    (job_dir / "e").symlink_to(".")  # as an attempt that came less far has left it
    landing = Landing(job_dir, TOKEN)
    with pytest.raises(StagingFailed, match="in what is no directory"):
        landing.merge(there)
    assert [path.name for path in job_dir.iterdir()] == ["e"]


def test_a_directory_takes_the_place_of_a_link_before_anything_goes_there(job_dir: Path) -> None:
    (job_dir / "e").symlink_to(".")
    Landing(job_dir, TOKEN).merge({"e/within": HERE, "e": Entry(DIRECTORY)})
    assert (job_dir / "e").is_dir()
    assert not (job_dir / "e").is_symlink()
    assert (job_dir / "e/within").readlink() == Path()
    assert [path.name for path in job_dir.iterdir()] == ["e"]


@pytest.mark.parametrize(
    ("name", "target"), [("link", "there\0l 700 0 0.0 0 0 more\0.."), ("na\0me", "there")]
)
def test_a_listing_is_read_as_it_was_written(name: str, target: str) -> None:
    assert not listing.stays_inside("link", "there\0..")
    with pytest.raises(ValueError, match="the listing has the name"):
        listing.write({name: Entry(LINK, target=target)})
