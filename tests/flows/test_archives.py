import zipfile
from pathlib import Path

import pytest

from flows import archives
from flows.errors import InvalidUpload


def make(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_unpacks_files_and_directories(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"README.md": b"hello", "data/x": b"1"})
    archives.check(archive, ["README.md", "data/x"])
    archives.unpack(archive, tmp_path / "job")
    assert (tmp_path / "job/README.md").read_bytes() == b"hello"
    assert (tmp_path / "job/data/x").read_bytes() == b"1"


def test_unpacking_again_begins_anew(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a": b"1"})
    (tmp_path / "job").mkdir()
    (tmp_path / "job/half").touch()
    archives.unpack(archive, tmp_path / "job")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["a"]


def test_names_of_outputs_give_way(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"stdout.txt/x": b"1", "returncode": b"0", "a": b""})
    archives.unpack(archive, tmp_path / "job")
    assert [path.name for path in (tmp_path / "job").iterdir()] == ["a"]


def test_needed_files_are_named(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"b": b""})
    with pytest.raises(InvalidUpload, match=r"lacks a, c/d"):
        archives.check(archive, ["a", "b", "c/d"])


@pytest.mark.parametrize("name", ["/etc/passwd", "../up", "a/../../up", "a\\b"])
def test_names_that_lead_out_are_refused(tmp_path: Path, name: str) -> None:
    archive = make(tmp_path / "a.zip", {"ok": b"", name: b""})
    with pytest.raises(InvalidUpload, match="relative names"):
        archives.check(archive)
    with pytest.raises(InvalidUpload):
        archives.unpack(archive, tmp_path / "job")


def test_links_are_refused(tmp_path: Path) -> None:
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with pytest.raises(InvalidUpload, match="link or device"):
        archives.check(tmp_path / "a.zip")


@pytest.mark.parametrize("content", [b"", b"not a zip", b"PK\x03\x04" + b"\0" * 100])
def test_what_is_no_archive_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.zip").write_bytes(content)
    with pytest.raises(InvalidUpload):
        archives.check(tmp_path / "a.zip")


def test_damaged_content_is_found_while_unpacking(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a": b"x" * 1000})
    damaged = bytearray(archive.read_bytes())
    damaged[35] ^= 0xFF
    archive.write_bytes(damaged)
    with pytest.raises(InvalidUpload, match="cannot be unpacked"):
        archives.unpack(archive, tmp_path / "job")


def test_one_name_for_a_file_and_a_directory(tmp_path: Path) -> None:
    archive = make(tmp_path / "a.zip", {"a": b"", "a/b": b""})
    with pytest.raises(InvalidUpload, match="one name for a file and for a directory"):
        archives.unpack(archive, tmp_path / "job")
