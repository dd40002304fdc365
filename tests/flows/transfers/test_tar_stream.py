"""A tar that is made while it is sent: what other programs read in it, and from anywhere in it."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from flows.errors import StagingFailed
from flows.transfers import outputs
from flows.transfers.tar_stream import TarStream

SIZES = [0, 1, 511, 512, 513, 10_000, 3_000_000]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    directory = tmp_path / "there"
    (directory / "deep" / ("d" * 120)).mkdir(parents=True)
    for size in SIZES:
        (directory / f"of {size}").write_bytes(os.urandom(size))
    # Around the length at which a name needs a header of its own.
    for length in range(94, 103):
        (directory / ("n" * length)).write_text("x")
        (directory / ("ü" * (length // 2))).write_text("x")
        (directory / ("l" * length)).symlink_to("t" * length)
    (directory / os.fsdecode(b"\xff\xfe")).write_text("x")
    return directory


def stream_of(directory: Path) -> TarStream:
    return TarStream(directory, outputs.scan(directory))


def test_it_is_as_long_as_it_says_and_tar_reads_it(directory: Path, tmp_path: Path) -> None:
    stream = stream_of(directory)
    content = b"".join(stream.blocks())
    assert len(content) == stream.size
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        archive.extractall(tmp_path / "out", filter="fully_trusted")
    there, out = outputs.scan(directory), outputs.scan(tmp_path / "out")
    assert {name: (entry.kind, entry.size, entry.target) for name, entry in there.items()} == {
        name: (entry.kind, entry.size, entry.target) for name, entry in out.items()
    }


def test_it_begins_and_ends_anywhere(directory: Path) -> None:
    stream = stream_of(directory)
    content = b"".join(stream.blocks())
    places = [*range(0, stream.size, 50_021), *range(0, 3000, 97), *range(stream.size - 600, stream.size + 1)]
    for start in places:
        end = min(start + 100_003, stream.size)
        assert b"".join(stream.blocks(start, end)) == content[start:end]


@pytest.mark.parametrize("what", ["shorter", "gone"])
def test_a_file_that_is_not_as_it_was_is_noticed(directory: Path, what: str) -> None:
    stream, file = stream_of(directory), directory / "of 10000"
    if what == "gone":
        file.unlink()
    else:
        os.truncate(file, 9_999)
    with pytest.raises(StagingFailed, match="of 10000"):
        list(stream.blocks())


def test_small_files_come_in_large_pieces(directory: Path) -> None:
    *full, _last = stream_of(directory).blocks()
    assert min(map(len, full)) >= 1 << 20


def test_its_tag_tells_it_from_others(directory: Path) -> None:
    before = stream_of(directory).tag
    assert stream_of(directory).tag == before
    (directory / "of 1").write_text("ab")
    assert stream_of(directory).tag != before
