"""Deflate64 in zip archives."""

import random
import struct
import tracemalloc
import zlib
from pathlib import Path

import inflate64
import pytest

from flows import archives
from flows.archives import compression
from tests.flows.archives.making import tree
from tests.flows.archives.refusing import LIMITS, limits, refused, refused_by_unpack, write

LINES = b"".join(b"%d\n" % number for number in range(60_000))
NOISE = random.Random(3).randbytes(400_000)


def packed(data: bytes) -> bytes:
    deflater = inflate64.Deflater()
    return bytes(deflater.deflate(data) + deflater.flush())


def zipped(data: bytes, content: bytes | None = None, *, descriptor: bool = False) -> bytes:
    """Return an archive of one file; ``content`` is there instead of what packs the data."""
    content = packed(data) if content is None else content
    crc, sizes = zlib.crc32(data), (len(content), len(data))
    flags = 8 if descriptor else 0
    told = (0, 0, 0) if descriptor else (crc, *sizes)
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 21, flags, 9, 0, 33, *told, 1, 0) + b"a" + content
    if descriptor:
        head += struct.pack("<4s3L", b"PK\7\x08", crc, *sizes)
    fields = (21, 21, flags, 9, 0, 33, crc, *sizes, 1, 0, 0, 0, 0, 0, 0)
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", *fields) + b"a"
    return head + entry + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(entry), len(head), 0)


@pytest.mark.parametrize("descriptor", [False, True])
@pytest.mark.parametrize(
    "data", [b"", b"x", LINES, NOISE, bytes(5_000_000), NOISE + bytes(200_000) + LINES], ids=len
)
def test_is_unpacked(tmp_path: Path, data: bytes, descriptor: bool) -> None:
    archive = write(tmp_path, zipped(data, descriptor=descriptor))
    archives.check(archive, ["a"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": data}


@pytest.mark.parametrize("more", [1, 2, 1023, 1024, 1025, 5000, 300_000])
def test_more_behind_its_end(tmp_path: Path, more: int) -> None:
    for data in (b"x", LINES):
        refused_by_unpack(write(tmp_path, zipped(data, packed(data) + bytes(more))), "not what was put in")


@pytest.mark.parametrize("content", [packed(LINES)[:-1], packed(LINES)[:100], b"", b"\xff" * 99], ids=len)
def test_what_is_damaged(tmp_path: Path, content: bytes) -> None:
    refused_by_unpack(write(tmp_path, zipped(LINES, content)), "not what was put in|damaged")


def test_random_damage_is_no_surprise(tmp_path: Path) -> None:
    chance = random.Random(4)
    whole = packed(LINES[:50_000] + bytes(100_000) + NOISE[:2000])
    for _ in range(200):
        damaged = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(damaged))] = chance.randrange(256)
        refused_by_unpack(write(tmp_path, zipped(b"something else", bytes(damaged))), "not what was|damaged")


def test_a_block_at_a_time() -> None:
    decompressor = compression.deflate64_decompressor()
    sizes = [len(decompressor.decompress(packed(bytes(10_000_000)), 1000))]
    while not decompressor.eof:
        sizes.append(len(decompressor.decompress(b"", 1000)))
    assert set(sizes) <= {0, 1000}
    assert sum(sizes) == 10_000_000
    assert not decompressor.unused_data


def test_memory_does_not_grow_with_what_is_unpacked(tmp_path: Path) -> None:
    archive = write(tmp_path, zipped(NOISE * 10))
    archives.unpack(archive, tmp_path / "job", LIMITS)
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    archives.unpack(archive, tmp_path / "job", LIMITS)
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert after - before < 100_000


def test_bytes_are_bounded_in_it_too(tmp_path: Path) -> None:
    archive = write(tmp_path, zipped(bytes(2000)))
    refused(archive, "at most 1999 bytes", limits(max_unpacked_bytes=1999))
