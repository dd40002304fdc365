"""Tar archives as tools make them of files with several names, and as they add to them later."""

import gzip
import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from flows import archives
from tests.flows.archives.making import END, extended, header, make_tar, padded, record, tree
from tests.flows.archives.refusing import LIMITS, limits, refused, write

FILE = header(name="README.md", size=4) + padded(b"one\n")


def unpacked(directory: Path, content: bytes) -> dict[str, bytes | None]:
    """Accepted and unpacked, plain and compressed."""
    archives.check(write(directory, content), [], LIMITS)
    archives.unpack(write(directory, gzip.compress(content)), directory / "job", LIMITS)
    archives.unpack(write(directory, content), directory / "job", LIMITS)
    return tree(directory / "job")


def link(name: str, target: str, **fields: object) -> bytes:
    return header(name=name, type=b"1", linkname=target, **fields)


def test_a_second_name_of_a_file_is_a_copy(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in/README.md").write_bytes(b"one\n")
    (tmp_path / "in/README.md").chmod(0o755)
    (tmp_path / "in/copy.md").hardlink_to(tmp_path / "in/README.md")
    (tmp_path / "in/third.md").hardlink_to(tmp_path / "in/README.md")
    made = subprocess.run(["tar", "-cf", "-", "."], cwd=tmp_path / "in", capture_output=True, check=True)
    assert made.stdout.count(b"one\n") == 1
    assert unpacked(tmp_path, made.stdout) == dict.fromkeys(["README.md", "copy.md", "third.md"], b"one\n")
    archives.check(tmp_path / "upload.archive", ["copy.md", "third.md"], LIMITS)
    files = [path.stat() for path in (tmp_path / "job").iterdir()]
    assert {(file.st_nlink, file.st_mode & 0o777) for file in files} == {(1, 0o700)}


def test_a_file_that_was_named_twice_is_a_link_to_itself(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_bytes(b"one\n")
    command = ["tar", "-cf", "-", "README.md", "README.md"]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(made.stdout)) as archive:
        assert [member.linkname for member in archive] == ["", "README.md"]
    assert unpacked(tmp_path, made.stdout) == {"README.md": b"one\n"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (FILE + link("./b", "./README.md"), {"README.md": b"one\n", "b": b"one\n"}),
        (FILE + link("d/b", "README.md") + link("c", "d/b"), {"d": None, "d/b": b"one\n", "c": b"one\n"}),
        (FILE + extended(b"K", b"README.md\0") + link("b", "x"), {"b": b"one\n"}),
        (FILE + extended(b"x", record("linkpath", "README.md")) + link("b", "x"), {"b": b"one\n"}),
        (FILE + header(name="empty") + link("b", "empty"), {"empty": b"", "b": b""}),
        # Each copy is of what was there when it came.
        (FILE + link("b", "README.md") + header(name="README.md"), {"README.md": b"", "b": b"one\n"}),
        (FILE + header(name="README.md") + link("b", "README.md"), {"README.md": b"", "b": b""}),
        (FILE + header(name="b") + link("b", "README.md"), {"b": b"one\n"}),
    ],
)
def test_forms_of_links(tmp_path: Path, content: bytes, expected: dict[str, bytes | None]) -> None:
    assert unpacked(tmp_path, content + END) == {"README.md": b"one\n", **expected}


def test_a_copy_of_a_name_that_gives_way(tmp_path: Path) -> None:
    content = header(name="stdout.txt", size=4) + padded(b"one\n") + link("b", "stdout.txt") + END
    assert unpacked(tmp_path, content) == {"b": b"one\n"}


@pytest.mark.parametrize(
    "member",
    [
        link("x", "later") + header(name="later"),
        link("x", "nothing"),
        link("x", "/README.md"),
        link("x", "d/../README.md"),
        link("x", "../README.md"),
        link("x", "d"),
        link("x", ""),
        link("x", "x"),
        link("README.md", "x"),
        extended(b"K", b"/etc/passwd\0") + link("x", "README.md"),
        header(name="x", type=b"2", linkname="README.md"),
    ],
)
def test_links_to_anything_else_are_refused(tmp_path: Path, member: bytes) -> None:
    refused(write(tmp_path, FILE + header(name="d", type=b"5") + member + END), "link or device")


@pytest.mark.parametrize(
    "member",
    [
        link("x", "README.md", size=4) + padded(b"two\n"),
        link("x/", "README.md"),
        extended(b"K", b"README.md\0") * 2 + link("x", "README.md"),
        extended(b"K", b"d\0") + extended(b"x", record("linkpath", "README.md")) + link("x", "README.md"),
        extended(b"g", record("linkpath", "README.md")) + link("x", "d"),
    ],
)
def test_links_that_can_be_read_in_two_ways_are_refused(tmp_path: Path, member: bytes) -> None:
    refused(write(tmp_path, FILE + member + END), "damaged")


def test_copies_count_like_any_file(tmp_path: Path) -> None:
    content = header(name="a", size=1000) + bytes(1024) + b"".join(link(f"b{n}", "a") for n in range(9)) + END
    refused(write(tmp_path, content), "at most 9999 bytes", limits(max_unpacked_bytes=9999))
    refused(write(tmp_path, content), "at most 9 are", limits(max_entries=9))
    enough = limits(max_unpacked_bytes=10_000, max_entries=10)
    archives.unpack(write(tmp_path, content), tmp_path / "job", enough)


@pytest.mark.parametrize("option", ["-rf", "-uf"])
def test_what_was_added_again_takes_the_place(tmp_path: Path, option: str) -> None:
    (tmp_path / "in/data").mkdir(parents=True)
    (tmp_path / "in/README.md").write_bytes(b"old and longer")
    (tmp_path / "in/other").write_bytes(b"other")
    os.utime(tmp_path / "in/README.md", (0, 0))
    subprocess.run(["tar", "-cf", "a.tar", "README.md", "other"], cwd=tmp_path / "in", check=True)
    (tmp_path / "in/README.md").write_bytes(b"new")
    (tmp_path / "in/README.md").chmod(0o755)
    (tmp_path / "in/data/x").touch()
    subprocess.run(["tar", option, "a.tar", "README.md", "data"], cwd=tmp_path / "in", check=True)
    content = (tmp_path / "in/a.tar").read_bytes()
    expected = {"README.md": b"new", "other": b"other", "data": None, "data/x": b""}
    assert unpacked(tmp_path, content) == expected
    assert (tmp_path / "job/README.md").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("names", [["a", "a"], ["a", "./a"], ["d/a", "d//a"], ["./a", "a", "./a"]])
def test_the_last_of_a_name_counts(tmp_path: Path, names: list[str]) -> None:
    content = make_tar([(name, b"%d" % number) for number, name in enumerate(names, 1)])
    found = unpacked(tmp_path, content)
    assert [data for data in found.values() if data is not None] == [b"%d" % len(names)]


def test_what_was_replaced_counts_too(tmp_path: Path) -> None:
    archive = write(tmp_path, make_tar([("a", bytes(600)), ("a", bytes(600))]))
    refused(archive, "at most 1199 bytes", limits(max_unpacked_bytes=1199))
    refused(archive, "at most 1 are", limits(max_entries=1))
