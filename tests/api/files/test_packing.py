"""What is worth compressing is found out for each file."""

import gzip
import os
import random
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from api.files import packing
from api.files.archives import Excluded, archive
from api.files.packing import ArchiveFormat, Writable

TEXT = "".join(f"ATOM {n:6} CA ALA A {n / 7:9.3f}{n / 11:9.3f}\n" for n in range(100_000)).encode()
DENSE = gzip.compress(random.Random(1).randbytes(3_000_000))

FILES = {
    "small.pdb.gz": (DENSE[:40_000], True),
    "big.pdb.gz": (DENSE, True),
    "a page": (DENSE[:4096], True),
    "tiny.gz": (DENSE[:100], False),  # not worth the look
    "empty": (b"", False),
    "small.pdb": (TEXT[:40_000], False),
    "page.pdb": (TEXT[:4096], False),
    "big.pdb": (TEXT, False),
    "begins dense": (DENSE[:20_000] + TEXT[:40_000], False),
    "ends dense": (TEXT[:40_000] + DENSE[:20_000], False),
}


def test_a_sample_of_each_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: dict[str, bool] = {}
    original = packing._ZipPacker.file

    def file(
        self: Any, name: str, status: os.stat_result, *, is_dense: bool
    ) -> AbstractContextManager[Writable]:
        told[name] = is_dense
        return original(self, name, status, is_dense=is_dense)

    monkeypatch.setattr(packing._ZipPacker, "file", file)
    for name, (content, _) in FILES.items():
        (tmp_path / name).write_bytes(content)
    for _ in archive(tmp_path, "", ArchiveFormat.ZIP, Excluded([], [])):
        pass
    assert told == {name: is_dense for name, (_, is_dense) in FILES.items()}
