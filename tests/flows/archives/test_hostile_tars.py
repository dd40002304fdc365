"""Tar archives with what only tar has: links, devices, extended headers; and streams of compressed data."""

import gzip
import io
import lzma
import tarfile
from pathlib import Path
from typing import Any

import pytest

from flows import archives
from flows.archives import compression
from flows.archives.compression import zstd
from flows.errors import InvalidUpload
from tests.flows.archives.making import COMPRESSORS, END, extended, header, make_tar, padded, record, tree
from tests.flows.archives.refusing import LIMITS, limits, refused, write

PLAIN = make_tar([("a", b"first" * 200), ("b", b"second")], tarfile.USTAR_FORMAT)


def patched(block: bytes, place: int, value: bytes) -> bytes:
    """Return the header with something else at a place, and a right checksum."""
    changed = bytearray(block)
    changed[place : place + len(value)] = value
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


@pytest.mark.parametrize("kind", [b"1", b"2", b"3", b"4", b"6"])
def test_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    member = header(name="x", type=kind, linkname="/etc/passwd")
    refused(write(tmp_path, header(name="ok") + member + END), "'x': send plain files")
    refused(write(tmp_path, gzip.compress(member + END)), "link or device")


@pytest.mark.parametrize("kind", [b"V", b"M", b"D", b"Z", b"\xff"])
def test_other_kinds_are_refused(tmp_path: Path, kind: bytes) -> None:
    refused(write(tmp_path, header(name="x", type=kind) + END), "no plain file")


def test_file_of_a_contiguous_kind_and_of_old_kind(tmp_path: Path) -> None:
    content = header(name="a", type=b"7", size=1) + padded(b"1") + header(name="b", type=b"\0") + END
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": b"1", "b": b""}


def test_sparse_files_are_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, header(type=b"S") + END), "sparse")
    pax = extended(b"x", record("GNU.sparse.realsize", "1000000000000"))
    refused(write(tmp_path, pax + header() + END), "sparse")


@pytest.mark.parametrize(
    "content",
    [
        extended(b"x", record("size", "0")) + header(size=5) + padded(b"12345"),
        extended(b"x", record("size", "512")) + header(size=0) + header(name="hidden"),
        extended(b"x", record("size", "-1")) + header(),
        extended(b"x", record("size", "x")) + header(),
        extended(b"x", record("size", "1_0")) + header(size=10) + padded(b"1234567890"),
        extended(b"x", record("size", "0")) + extended(b"x", record("size", "0")) + header(),
        extended(b"x", record("size", "9" * 30)) + header(),
        extended(b"x", record("path", "a") + record("path", "b")) + header(),
        extended(b"x", record("path", "a")) + extended(b"x", record("path", "b")) + header(),
        extended(b"L", b"a") + extended(b"L", b"b") + header(),
        extended(b"L", b"a") + extended(b"x", record("path", "b")) + header(),
        extended(b"g", record("path", "a")) + header(),
        extended(b"g", record("size", "0")) + header(),
        extended(b"x", b"99 path=a\n") + header(),
        extended(b"x", b"2 path=a\n") + header(),
        extended(b"x", b"garbage") + header(),
        extended(b"x", record("path", "a")),
        header(type=b"x", size=2 << 20) + bytes(2 << 20) + header(),
        patched(header(type=b"L"), 124, b"\x80" + (1 << 33).to_bytes(11, "big")),
        patched(header(), 124, b"99999999999\0"),
        patched(header(), 124, b"\xff" * 12),
        header()[:-1] + b"x",
    ],
)
def test_headers_that_are_wrong_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, header(name="ok") + content + END), "damaged")


def test_headers_that_are_right(tmp_path: Path) -> None:
    content = (
        extended(b"g", record("comment", "of git"))
        + extended(b"x", record("mtime", "1.5") + record("path", "long/name") + record("size", "3"))
        + header(size=3)
        + padded(b"abc")
        + extended(b"K", b"target\0")
        + extended(b"L", b"other\0")
        + patched(header(), 124, b"\x80" + (2).to_bytes(11, "big"))
        + padded(b"de")
        + patched(header(name="old", type=b"0"), 257, bytes(8))
        + header(name="dir/", type=b"0")
        + END
    )
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {
        "long": None,
        "long/name": b"abc",
        "other": b"de",
        "old": b"",
        "dir": None,
    }


def test_prefix_of_a_name_counts(tmp_path: Path) -> None:
    refused(write(tmp_path, patched(header(name="a"), 345, b"/etc") + END), "'/etc/a'")
    refused(write(tmp_path, patched(header(name="a"), 345, b"..") + END), "relative")


def test_gnu_has_times_where_others_have_a_prefix(tmp_path: Path) -> None:
    content = patched(patched(header(name="a"), 257, b"ustar  \0"), 345, b"14000000000\0") + END
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["a"]


def test_names_in_extended_headers_are_checked(tmp_path: Path) -> None:
    refused(write(tmp_path, extended(b"L", b"../up\0") + header() + END), "relative")
    refused(write(tmp_path, extended(b"x", record("path", "/up")) + header() + END), "relative")
    refused(write(tmp_path, extended(b"x", record("path", "a\0b")) + header() + END), "control")
    refused(write(tmp_path, extended(b"L", b"\xff") + header() + END), "UTF-8")
    refused(write(tmp_path, extended(b"L", b"") + header() + END), "give it a name")


def test_directory_with_content_is_refused(tmp_path: Path) -> None:
    content = header(name="d", type=b"5", size=512) + header(name="hidden") + END
    refused(write(tmp_path, content), "with content")


def test_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, header(size=10_000) + bytes(5000)), "ends too early")
    refused(write(tmp_path, header(size=10) + bytes(10)), "ends too early")
    refused(write(tmp_path, extended(b"L", b"x" * 1000)[:-200]), "ends too early")
    refused(write(tmp_path, gzip.compress(header(size=10_000) + bytes(5000))), "ends too early")
    refused(write(tmp_path, header(size=8**11 - 1) + bytes(5000)), "200 times|at most")


@pytest.mark.parametrize("compress", [bytes, *COMPRESSORS.values()])
@pytest.mark.parametrize("tail", [PLAIN, b"x", header()])
def test_what_follows_is_refused(tmp_path: Path, compress: Any, tail: bytes) -> None:
    refused(write(tmp_path, compress(PLAIN + tail)), "followed by something else")
    if compress is not bytes:
        refused(write(tmp_path, compress(PLAIN) + tail), "damaged|ends too early|followed")


@pytest.mark.parametrize("compress", COMPRESSORS.values())
def test_several_streams_make_one_archive(tmp_path: Path, compress: Any) -> None:
    pieces = [PLAIN[at : at + 700] for at in range(0, len(PLAIN), 700)]
    content = b"".join(compress(piece) for piece in [b"", *pieces, b""])
    archives.unpack(write(tmp_path, content + bytes(512)), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": b"first" * 200, "b": b"second"}


def test_frames_to_skip(tmp_path: Path) -> None:
    content = b"\x50\x2a\x4d\x18\x04\0\0\0abcd" + zstd.compress(PLAIN)
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["a", "b"]


def test_endless_small_streams_are_refused_soon(tmp_path: Path) -> None:
    archive = write(tmp_path, gzip.compress(PLAIN[:512]) + gzip.compress(b"") * 500_000)
    refused(archive, "too many pieces")


@pytest.mark.parametrize(
    "more",
    [END * 50_000, extended(b"g", record("comment", "x" * 5000)) * 10_000, extended(b"K", b"x") * 50_000],
)
def test_endless_headers_and_padding_are_refused(tmp_path: Path, more: bytes) -> None:
    archive = write(tmp_path, gzip.compress(header() + more, 1))
    refused(archive, "too much around", limits(max_entries=2))


def test_memory_of_decompression_is_bounded(tmp_path: Path) -> None:
    content = io.BytesIO()
    with zstd.ZstdFile(content, "w", options={zstd.CompressionParameter.window_log: 28}) as file:
        file.write(PLAIN)
    frame = content.getvalue()
    refused(write(tmp_path, frame), "damaged")
    chain = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 29}]
    refused(write(tmp_path, lzma.compress(PLAIN, filters=chain)), "damaged")
    archives.check(write(tmp_path, lzma.compress(PLAIN, preset=9)), [], LIMITS)
    content = io.BytesIO()
    with zstd.ZstdFile(content, "w", options={zstd.CompressionParameter.window_log: 27}) as file:
        file.write(PLAIN)
    archives.check(write(tmp_path, content.getvalue()), [], LIMITS)


@pytest.mark.parametrize("compress", COMPRESSORS.values())
def test_a_block_at_a_time(compress: Any) -> None:
    data = bytes(range(256)) * 20_000
    source = compression.Decompressed(io.BytesIO(compress(data)), NEW[compress], deadline=None)
    source.skip(1000)
    assert source.read(1_000_000) == data[1000:1_001_000]
    source.skip(compression.BLOCK)
    assert source.read(len(data)) == data[1_001_000 + compression.BLOCK :]
    assert source.read(1) == b""
    with pytest.raises(InvalidUpload):
        source.skip(1)


NEW = dict(
    zip(
        COMPRESSORS.values(),
        (
            compression.gzip_decompressor,
            compression.bzip2_decompressor,
            compression.xz_decompressor,
            compression.zstd_decompressor,
        ),
        strict=True,
    )
)
