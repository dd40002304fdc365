"""Files with holes in tar archives, as bsdtar writes them by itself and GNU tar where it is asked to."""

import gzip
import shutil
import subprocess
from pathlib import Path

import pytest

from flows import archives
from tests.flows.archives.making import END, extended, header, padded, record, tree
from tests.flows.archives.refusing import LIMITS, limits, refused, write
from tests.flows.archives.writers import Writer
from tests.services.fixtures import skipped_where_missing


def holes(directory: Path) -> Path:
    """Make files whose holes are at the beginning, in the middle, at the end, everywhere."""
    directory.mkdir()
    with (directory / "middle").open("wb") as file:
        for at in (0, 5 << 20, 11 << 20):
            file.seek(at)
            file.write(b"data at %d" % at)
    with (directory / "ends").open("wb") as file:
        file.seek(3 << 20)
        file.write(b"x")
        file.truncate(8 << 20)
    with (directory / ("nothing but a hole, with a name that is too long " * 3)).open("wb") as file:
        file.truncate((2 << 20) + 1)
    (directory / "README.md").write_bytes(b"dense")
    return directory


@pytest.mark.parametrize(
    "writer",
    [
        Writer("bsdtar -cf $ARCHIVE .", ("bsdtar",)),
        Writer("bsdtar --format pax -czf $ARCHIVE .", ("bsdtar",)),
        Writer("bsdtar --format gnutar -czf $ARCHIVE .", ("bsdtar",)),
        Writer("tar --format=pax -Scf $ARCHIVE ."),
        Writer("tar --format=pax -Sczf $ARCHIVE ."),
    ],
    ids=lambda writer: writer.command,
)
def test_holes_are_filled(tmp_path: Path, writer: Writer, pytestconfig: pytest.Config) -> None:
    directory = holes(tmp_path / "in")
    archive = tmp_path / "upload.archive"
    with skipped_where_missing(pytestconfig):
        writer.write(directory, archive)
    size = sum(path.stat().st_size for path in directory.iterdir())
    refused(archive, f"at most {size - 1} bytes", limits(max_unpacked_bytes=size - 1))
    archives.check(archive, ["ends", "README.md"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == tree(directory)


@pytest.mark.parametrize(
    "options", ["", "--format=pax --sparse-version=0.0", "--format=pax --sparse-version=0.1"]
)
def test_other_ways_are_refused_with_a_way_out(tmp_path: Path, options: str) -> None:
    directory = holes(tmp_path / "in")
    subprocess.run(
        ["tar", "-S", *options.split(), "-cf", "../upload.archive", "."], cwd=directory, check=True
    )
    shutil.rmtree(directory)
    refused(tmp_path / "upload.archive", "make it without --sparse")


SPARSE = {"major": "1", "minor": "0", "name": "a"}


def sparse(map_: bytes, data: bytes, size: str, **records: str) -> bytes:
    told = {f"GNU.sparse.{key}": value for key, value in (SPARSE | {"realsize": size} | records).items()}
    stored = padded(map_) + data
    extension = extended(b"x", b"".join(record(key, value) for key, value in told.items()))
    return extension + header(name="GNUSparseFile.0/a", size=len(stored)) + padded(stored)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (sparse(b"1\n2\n3\n", b"abc", "7"), b"\0\0abc\0\0"),
        (sparse(b"2\n0\n1\n5\n2\n", b"abc", "7"), b"a\0\0\0\0bc"),
        (sparse(b"0\n", b"", "3"), b"\0\0\0"),
        (sparse(b"1\n0\n0\n", b"", "0"), b""),
        (sparse(b"1\n2\n3\n", b"abc", "600000"), b"\0\0abc" + bytes(599_995)),
    ],
)
def test_forms_of_maps(tmp_path: Path, content: bytes, expected: bytes) -> None:
    content += header(name="b", size=1) + padded(b"x") + END
    for archive in (content, gzip.compress(content)):
        archives.check(write(tmp_path, archive), ["a", "b"], LIMITS)
        archives.unpack(write(tmp_path, archive), tmp_path / "job", LIMITS)
        assert tree(tmp_path / "job") == {"a": expected, "b": b"x"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (sparse(b"1\n2\n3\n", b"abcd", "7"), "map of a sparse file"),
        (sparse(b"1\n2\n3\n", b"ab", "7"), "map of a sparse file"),
        (sparse(b"1\n5\n3\n", b"abc", "7"), "map of a sparse file"),
        (sparse(b"2\n0\n2\n1\n1\n", b"abc", "7"), "map of a sparse file"),
        (sparse(b"2\n5\n1\n1\n2\n", b"abc", "7"), "map of a sparse file"),
        (sparse(b"1\n-2\n3\n", b"abc", "7"), "map of a sparse file"),
        (sparse(b"1\n" + b"9" * 20 + b"\n3\n", b"abc", "7"), "map of a sparse file"),
        (sparse(b"x", b"abc", "7"), "map of a sparse file"),
        (sparse(b"9" * 500, b"", "7"), "map of a sparse file"),
        (sparse(b"9999999999\n" + b"1\n0\n" * 400_000, b"", "7"), "map of a sparse file"),
        (sparse(b"1\n2\n3\n", b"abc", "x"), "sparse files"),
        (sparse(b"1\n2\n3\n", b"abc", "9" * 20), "a size is wrong"),
        (sparse(b"1\n2\n3\n", b"abc", "7", major="2"), "sparse files"),
        (sparse(b"1\n2\n3\n", b"abc", "7", map="1"), "sparse files"),
        (sparse(b"1\n2\n3\n", b"abc", "7", name="../a"), "relative names"),
        (sparse(b"1\n2\n3\n", b"abc", "7", name=""), "give it a name"),
        (sparse(b"0\n", b"", "3")[:1024] + header(type=b"5"), "sparse files"),
        (sparse(b"0\n", b"", "3")[:1024] + sparse(b"0\n", b"", "3"), "sparse files"),
        (extended(b"g", record("GNU.sparse.major", "1")) + header(name="a"), "sparse files"),
        (sparse(b"0\n", b"", str(1 << 60)), "at most"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    refused(write(tmp_path, header(name="ok") + content + END), words)


def test_holes_count_as_what_they_unpack_to(tmp_path: Path) -> None:
    refused(write(tmp_path, sparse(b"0\n", b"", str((1 << 30) + 1)) + END), "more than 200 times")
