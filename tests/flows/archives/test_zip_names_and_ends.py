"""Zip archives as tools make them: ends of ZIP64, zeros behind them, names in two encodings."""

import struct
import zipfile
import zlib
from pathlib import Path

import pytest

from flows import archives
from flows.archives.zip_directory import UNKNOWN_32
from tests.flows.archives.making import make_zip, tree
from tests.flows.archives.refusing import LIMITS, refused, write
from tests.flows.archives.zip_parts import END, ENTRY, FIRST, PLAIN, SECOND, patched, with_zip64_end

ZIP64 = with_zip64_end(PLAIN)
SHORT = struct.Struct("<4s4H2LH")


def ended(**fields: int) -> bytes:
    """Return the archive with ZIP64 whose short end says this, and all ones elsewhere."""
    numbers = [fields.get(name, 0xFFFF) for name in ("disk", "first_disk", "here", "entries")]
    return ZIP64[: -SHORT.size] + SHORT.pack(b"PK\5\6", *numbers, UNKNOWN_32, UNKNOWN_32, 0)


@pytest.mark.parametrize(
    "fields",
    [{}, {"disk": 0}, {"first_disk": 0}, {"here": 2}, {"entries": 2}, {"disk": 0, "first_disk": 0}],
)
def test_any_field_of_an_end_may_be_left_to_zip64(tmp_path: Path, fields: dict[str, int]) -> None:
    archive = write(tmp_path, ended(**fields))
    archives.check(archive, ["a", "b"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": FIRST, "b": SECOND}


@pytest.mark.parametrize(("wide", "words"), [((0,), None), ((1,), "several parts"), ((), "is missing")])
def test_a_member_whose_disk_is_left_to_zip64(
    tmp_path: Path, wide: tuple[int, ...], words: str | None
) -> None:
    plain = make_zip([("a", b"x")], method=0)
    at = plain.index(b"PK\1\2")
    field = struct.pack(f"<2H{len(wide)}L", 1, 4 * len(wide), *wide)
    record = patched(plain[at : at + 47], b"PK", ENTRY["disk"], "<H", 0xFFFF)
    record = patched(record, b"PK", 30, "<H", len(field)) + field
    archive = write(tmp_path, plain[:at] + record + SHORT.pack(b"PK\5\6", 0, 0, 1, 1, len(record), at, 0))
    if words is None:
        archives.unpack(archive, tmp_path / "job", LIMITS)
        assert tree(tmp_path / "job") == {"a": b"x"}
    else:
        refused(archive, words)


def test_more_members_than_the_end_has_room_for(tmp_path: Path) -> None:
    path = tmp_path / "upload.archive"
    with zipfile.ZipFile(path, "w") as archive:
        for number in range(0xFFFF + 2):
            archive.writestr(zipfile.ZipInfo(str(number)), b"")
    archives.check(path, ["0", "65536"], LIMITS)


@pytest.mark.parametrize(
    "content",
    [
        ended(disk=1),
        ended(first_disk=1),
        ended(here=1),
        ended(entries=3),
        patched(ended(), b"PK\6\6", 16, "<L", 1),
        patched(ended(), b"PK\6\6", 20, "<L", 1),
        patched(ended(), b"PK\6\6", 24, "<Q", 1),
        patched(ended(), b"PK\6\7", 4, "<L", 1),
        patched(ended(), b"PK\6\7", 16, "<L", 2),
        # Without ZIP64 nobody knows better.
        patched(PLAIN, b"PK\5\6", END["disk"], "<H", 0xFFFF),
        patched(PLAIN, b"PK\1\2", ENTRY["disk"], "<H", 0xFFFF),
    ],
)
def test_parts_and_ends_that_disagree_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, content), "damaged")


@pytest.mark.parametrize("comment", [b"", b"c" * 0xFFFF])
@pytest.mark.parametrize("content", [PLAIN, ended()])
def test_zeros_up_to_a_whole_record_may_follow(tmp_path: Path, content: bytes, comment: bytes) -> None:
    content = content[:-2] + struct.pack("<H", len(comment)) + comment
    content += bytes(-len(content) % 10240)
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": FIRST, "b": SECOND}


def test_other_things_may_not_follow(tmp_path: Path) -> None:
    whole = PLAIN + bytes(-len(PLAIN) % 10240)
    for content in (whole[:-1], whole[:-1] + b"x", whole + bytes(10240)):
        refused(write(tmp_path, content), "something follows its end")


JAPANESE = "日本.txt"
RAW = JAPANESE.encode("shift-jis")


def named(raw: bytes, field: bytes, local: bytes | None = None, flags: int = 0) -> bytes:
    """Return an archive of one file, with extra fields in the directory and in front of the file."""
    local = field if local is None else local
    crc = zlib.crc32(b"x")
    fields = (20, flags, 0, 0, 33, crc, 1, 1, len(raw))
    head = struct.pack("<4s5H3L2H", b"PK\3\4", *fields, len(local)) + raw + local + b"x"
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, *fields, len(field), 0, 0, 0, 0, 0) + raw + field
    return head + entry + SHORT.pack(b"PK\5\6", 0, 0, 1, 1, len(entry), len(head), 0)


def path_field(name: bytes, made_for: bytes, version: int = 1) -> bytes:
    return struct.pack("<2HBL", 0x7075, 5 + len(name), version, zlib.crc32(made_for)) + name


GOOD = path_field(JAPANESE.encode(), RAW)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (named(RAW, GOOD), JAPANESE),
        (named(RAW, GOOD, local=b""), JAPANESE),
        (named(b"__.txt", path_field(JAPANESE.encode(), b"__.txt")), JAPANESE),
        (named(JAPANESE.encode(), path_field(JAPANESE.encode(), JAPANESE.encode()), flags=0x800), JAPANESE),
        # Beside other fields.
        (named(RAW, struct.pack("<2HBL", 0x5455, 5, 1, 0) + GOOD), JAPANESE),
        # A tool that knows nothing of the field has renamed the file; a later version of it; half a field.
        (named(b"renamed.txt", GOOD), "renamed.txt"),
        (named(b"a.txt", path_field(b"b.txt", b"a.txt", version=2)), "a.txt"),
        (named(b"a.txt", struct.pack("<2HB", 0x7075, 1, 1)), "a.txt"),
    ],
)
def test_name_in_a_field_of_its_own(tmp_path: Path, content: bytes, name: str) -> None:
    archive = write(tmp_path, content)
    archives.check(archive, [name], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {name: b"x"}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (named(b"a", path_field(b"b", b"a"), flags=0x800), "two names"),
        (named(b"a", path_field(b"b/", b"a")), "two names"),
        (named(b"a", path_field(b"b", b"a") * 2), "there twice"),
        (named(b"a", path_field(b"\xff", b"a")), "not UTF-8"),
        (named(b"a", path_field(b"../b", b"a")), "relative names"),
        (named(b"a", path_field(b"", b"a")), "give it a name"),
        (named(b"a", b"", local=path_field(b"b", b"a")), "contradicts"),
        (named(b"a", path_field(b"b", b"a"), local=path_field(b"c", b"a")), "contradicts"),
    ],
)
def test_names_that_disagree_or_are_not_safe_are_refused(tmp_path: Path, content: bytes, words: str) -> None:
    refused(write(tmp_path, content), words)
