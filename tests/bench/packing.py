"""How long it takes to pack many files that are compressed already: ``python -m tests.bench.packing``."""

import gzip
import random
import statistics
import tempfile
import time
from pathlib import Path

from api.files.archives import Excluded, archive
from api.files.packing import ArchiveFormat

FILES, SIZE, ROUNDS = 2000, 40_000, 5
FORMATS = (ArchiveFormat.TAR, ArchiveFormat.ZIP)


def main() -> None:
    """Print medians of rounds that pack each format in turn, without a server."""
    with tempfile.TemporaryDirectory() as directory:
        _fill(Path(directory))
        taken: dict[ArchiveFormat, list[float]] = {kind: [] for kind in FORMATS}
        for _ in range(ROUNDS):
            for kind in FORMATS:
                taken[kind].append(_pack(Path(directory), kind))
    tar, zipped = (statistics.median(taken[kind]) for kind in FORMATS)
    print(
        f"{FILES} files of {SIZE} bytes, .pdb.gz: .tar {tar:.2f} s, .zip {zipped:.2f} s, {zipped / tar:.1f} x"
    )


def _fill(directory: Path) -> None:
    for number in range(FILES):
        below = directory / f"{number // 100:02}"
        below.mkdir(exist_ok=True)
        content = gzip.compress(random.Random(number).randbytes(SIZE))[:SIZE]
        (below / f"model_{number}.pdb.gz").write_bytes(content)


def _pack(directory: Path, kind: ArchiveFormat) -> float:
    began = time.perf_counter()
    for _ in archive(directory, "", kind, Excluded([], [])):
        pass
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
