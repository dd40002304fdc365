"""What it takes to send a job's files: neither many small pieces nor the same bytes copied over and over."""

import io
import tarfile
from pathlib import Path
from typing import BinaryIO

import pytest

from flows.staging import sending
from flows.staging.bridge import BLOCK

FILES = 1000


class Sink:
    """Keeps what it gets, piece by piece."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


class Piece(bytes):
    """What was read of a file; counts how many bytes are copied when it is put behind what waits already."""

    copied = 0

    def __radd__(self, before: bytes) -> bytes:
        Piece.copied += len(before)
        return before + bytes(self)


class Watched(io.FileIO):
    """A file whose readers get such pieces."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        Watched.reads += 1
        return Piece(super().read(-1 if size is None else size))


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    for n in range(FILES):
        (tmp_path / f"in{n}").write_bytes(n.to_bytes(2, "big") * 2048)
    (tmp_path / "big").write_bytes(bytes(8 * BLOCK))
    return tmp_path


def test_small_files_and_a_large_one_are_sent_in_large_pieces(job_dir: Path) -> None:
    sink = Sink()
    sending.write_tar(job_dir, sending.scan(job_dir), sink)
    *full, _rest = sink.pieces
    assert min(map(len, full)) >= BLOCK
    with tarfile.open(fileobj=io.BytesIO(b"".join(sink.pieces))) as archive:
        assert sum(member.isreg() for member in archive) == FILES + 1


def test_what_waits_to_be_sent_is_not_copied_for_each_piece_that_follows(
    job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def watched(job_dir: Path, name: str) -> BinaryIO:
        return Watched(job_dir / name)

    monkeypatch.setattr(sending, "open_file", watched)
    sink = Sink()
    sending.write_tar(job_dir, sending.scan(job_dir), sink)
    assert Piece.copied <= sum(map(len, sink.pieces))
    assert Watched.reads <= FILES + 1 + 8  # not one for each 16 KiB
