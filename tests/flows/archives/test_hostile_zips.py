"""Zip archives that say different things in different places, and other tricks of the format."""

import io
import shutil
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from flows import archives
from flows.archives import compression, zips
from flows.errors import InvalidUpload
from tests.flows.archives.making import COMPRESSORS, make_zip, tree
from tests.flows.archives.refusing import LIMITS, limits, refused, refused_by_unpack, write
from tests.flows.archives.zip_parts import (
    END,
    ENTRY,
    FIRST,
    LOCAL,
    PLAIN,
    SECOND,
    end,
    entry,
    local,
    patched,
    with_zip64_end,
)


class Unseekable(io.BytesIO):
    """Makes zipfile write descriptors after the members."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_arguments: int) -> int:
        raise io.UnsupportedOperation

    def tell(self) -> int:
        raise io.UnsupportedOperation


def streamed(force_zip64: bool = False) -> bytes:
    output = Unseekable()
    with zipfile.ZipFile(output, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in (("a", FIRST), ("b", SECOND)):
            with archive.open(name, "w", force_zip64=force_zip64) as member:
                member.write(data)
    return output.getvalue()


def with_zip64_entry() -> bytes:
    """One member whose sizes and offset are in extra fields."""
    wide = struct.pack("<2H2Q", 1, 16, 2, 2)
    head = struct.pack("<4s5H3L2H", b"PK\x03\x04", 45, 0, 0, 0, 0, 0, *[0xFFFFFFFF] * 2, 1, len(wide))
    crc = struct.pack("<L", zlib.crc32(b"hi"))
    head = head[:14] + crc + head[18:]
    wider = struct.pack("<2H3Q", 1, 24, 2, 2, 0)
    fields = (
        b"PK\x01\x02",
        45,
        45,
        0,
        0,
        0,
        0,
        0,
        0xFFFFFFFF,
        0xFFFFFFFF,
        1,
        len(wider),
        0,
        0,
        0,
        0,
        0xFFFFFFFF,
    )
    record = struct.pack("<4s6H3L5H2L", *fields)
    record = record[:16] + crc + record[20:] + b"a" + wider
    members = head + b"a" + wide + b"hi"
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(record), len(members), 0)
    return with_zip64_end(members + record + last)


@pytest.mark.parametrize(
    "content",
    [PLAIN, streamed(), streamed(force_zip64=True), with_zip64_end(PLAIN), PLAIN[:-2] + b"\x05\0hello"],
)
def test_good_ones(tmp_path: Path, content: bytes) -> None:
    archive = write(tmp_path, content)
    archives.check(archive, ["a", "b"], LIMITS)
    archives.unpack(archive, tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": FIRST, "b": SECOND}


def test_zip64_entries(tmp_path: Path) -> None:
    with zipfile.ZipFile(io.BytesIO(with_zip64_entry())) as reference:
        assert reference.read("a") == b"hi"
    archives.unpack(write(tmp_path, with_zip64_entry()), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": b"hi"}


def test_zstandard_in_zip(tmp_path: Path) -> None:
    packed = COMPRESSORS["zst"](FIRST)
    content = make_zip([("a", packed)], method=0)
    crc = zlib.crc32(FIRST)
    for signature, places in ((b"PK\x03\x04", LOCAL), (b"PK\x01\x02", ENTRY)):
        content = patched(content, signature, places["method"], "<H", 93)
        content = patched(content, signature, places["crc"], "<L", crc)
        content = patched(content, signature, places["size"], "<L", len(FIRST))
    archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
    assert tree(tmp_path / "job") == {"a": FIRST}


def test_names_that_are_not_utf8_are_those_of_dos(tmp_path: Path) -> None:
    content = PLAIN.replace(b"a", b"\x81", 1)
    at = content.index(b"PK\x01\x02") + 46
    archives.unpack(write(tmp_path, content[:at] + b"\x81" + content[at + 1 :]), tmp_path / "job", LIMITS)
    assert list(tree(tmp_path / "job")) == ["b", "ü"]


@pytest.mark.parametrize(
    "content",
    [
        local("name", "1s", b"x"),
        local("method", "<H", 0),
        local("crc", "<L", 1),
        local("packed", "<L", 1),
        local("size", "<L", 1),
        local("size", "<L", 0),
        local("flags", "<H", 1),
        local("flags", "<H", 8),
        entry("crc", "<L", 1),
        entry("size", "<L", 1),
        entry("method", "<H", 12),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, content), "contradicts|not where it says")


def test_descriptor_that_contradicts(tmp_path: Path) -> None:
    for place in (4, 8, 12):  # crc, packed size, size
        content = patched(streamed(), b"PK\x07\x08", place, "<L", 7)
        refused(write(tmp_path, content), "contradicts")


def shifted(at: int, removed: int, added: bytes) -> bytes:
    """Return the streamed archive with other bytes before its first directory entry."""
    content = streamed()
    start = content.index(b"PK\x01\x02")
    changed = content[: start + at] + added + content[start + at + removed :]
    return patched(changed, b"PK\x05\x06", END["offset"], "<L", start + len(added) - removed)


def test_forms_of_descriptors(tmp_path: Path) -> None:
    crc, size = zlib.crc32(SECOND), len(SECOND)
    packed = len(zlib.compress(SECOND, wbits=-15))
    for form, start in (("<3L", b""), ("<L2Q", b""), ("<L2Q", b"PK\x07\x08")):
        content = shifted(-16, 16, start + struct.pack(form, crc, packed, size))
        archives.unpack(write(tmp_path, content), tmp_path / "job", LIMITS)
        assert tree(tmp_path / "job") == {"a": FIRST, "b": SECOND}
    shutil.rmtree(tmp_path / "job")
    refused(write(tmp_path, shifted(-16, 4, b"PK\x07\x07")), "contradicts")
    refused(write(tmp_path, shifted(0, 0, b"more")), "contradicts")
    refused(write(tmp_path, shifted(0, 0, b"more than that")), "belongs to no member")
    refused(write(tmp_path, shifted(-16, 16, b"")), "contradicts")


def test_unknown_sizes_need_a_descriptor(tmp_path: Path) -> None:
    content = patched(local("flags", "<H", 8), b"PK\x01\x02", ENTRY["flags"], "<H", 8)
    archives.check(
        write(tmp_path, content), [], LIMITS
    )  # as Apple writes it: sizes in the header nevertheless
    refused(write(tmp_path, patched(content, b"PK\x03\x04", LOCAL["size"], "<L", 0)), "contradicts")


@pytest.mark.parametrize(
    "content",
    [
        end("disk", "<H", 1),
        end("here", "<H", 1),
        end("entries", "<H", 1),
        end("size", "<L", 1),
        end("offset", "<L", 1),
        end("comment", "<H", 5),
        entry("disk", "<H", 1),
        entry("offset", "<L", 1 << 31),
        with_zip64_end(PLAIN, (1, 0, 0)),
        with_zip64_end(PLAIN, (0, 1, 0)),
        with_zip64_end(PLAIN, (0, 0, 1)),
        patched(with_zip64_end(PLAIN), b"PK\x05\x06", END["entries"], "<H", 1),
        patched(with_zip64_end(PLAIN), b"PK\x05\x06", END["size"], "<L", 1),
        patched(with_zip64_end(PLAIN), b"PK\x06\x07", 8, "<Q", 1 << 63),
        patched(with_zip64_end(PLAIN), b"PK\x06\x06", 4, "<Q", 45),
        entry("size", "<L", 0xFFFFFFFF),  # without the field that would have it
        PLAIN.replace(b"PK\x01\x02", b"PK\x01\x03"),
    ],
)
def test_directories_that_are_wrong_are_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, content), "damaged|overlapping")


def moved(prefix: bytes) -> bytes:
    """Return the archive behind something else, with all offsets corrected."""
    content = bytearray(prefix + PLAIN)
    for signature, place in ((b"PK\x01\x02", ENTRY["offset"]), (b"PK\x05\x06", END["offset"])):
        at = -1
        while (at := content.find(signature, at + 1)) >= 0:
            (offset,) = struct.unpack_from("<L", content, at + place)
            struct.pack_into("<L", content, at + place, offset + len(prefix))
    return bytes(content)


def hidden_between() -> bytes:
    """A member that is in no directory, which programs find that read from the beginning."""
    whole = make_zip([("a", FIRST), ("hidden", b"x"), ("b", SECOND)])
    at = whole.index(b"PK\x01\x02")
    second = whole.index(b"PK\x01\x02", at + 1)
    third = whole.index(b"PK\x01\x02", second + 1)
    last = whole.index(b"PK\x05\x06")
    record = whole[at:second] + whole[third:last]
    return whole[:at] + record + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(record), at, 0)


@pytest.mark.parametrize(
    "content",
    [
        moved(b"#!/bin/sh\n"),
        b"#!/bin/sh\n" + PLAIN,
        moved(b"PK\x03\x04"),
        PLAIN + b"more",
        PLAIN + b"\0",
        PLAIN + PLAIN,
        moved(PLAIN),
        hidden_between(),
        PLAIN[:-2] + struct.pack("<H", len(PLAIN)) + PLAIN,  # another archive as the comment
    ],
)
def test_what_is_around_and_between_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(write(tmp_path, content), "damaged|not an archive")


def test_overlapping_members_are_refused(tmp_path: Path) -> None:
    """Each entry of the directory names the same content, or one content has the next member in it."""
    inner = make_zip([("b", SECOND)], method=0)
    inner = inner[: inner.index(b"PK\x01\x02")]
    outer = make_zip([("a", inner)], method=0)
    at = outer.index(b"PK\x01\x02", len(inner))
    first = outer[at : outer.index(b"PK\x05\x06")]
    second_zip = make_zip([("b", SECOND)], method=0)
    second = second_zip[second_zip.index(b"PK\x01\x02") : second_zip.index(b"PK\x05\x06")]
    second = patched(second, b"PK\x01\x02", ENTRY["offset"], "<L", outer.index(b"PK\x03\x04", 4))
    record = first + second
    last = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 2, 2, len(record), at, 0)
    refused(write(tmp_path, outer[:at] + record + last), "overlapping")
    both = bytearray(PLAIN)
    struct.pack_into("<L", both, PLAIN.rindex(b"PK\x01\x02") + ENTRY["offset"], 0)
    refused(write(tmp_path, bytes(both)), "overlapping")


@pytest.mark.parametrize("again", ["a", "./a", ".//a"])
def test_a_name_that_is_there_twice_is_refused(tmp_path: Path, again: str) -> None:
    """Programs that read from the beginning find the other one."""
    with warnings.catch_warnings(action="ignore"):
        content = make_zip([("a", FIRST), (again, SECOND)])
    refused(write(tmp_path, content), "twice")


@pytest.mark.parametrize("flag", [0x1, 0x40, 0x2000])
def test_encrypted_ones_are_refused(tmp_path: Path, flag: int) -> None:
    refused(write(tmp_path, entry("flags", "<H", flag)), "encrypted")


@pytest.mark.parametrize("method", [1, 6, 10, 96, 98, 99])
def test_unknown_methods_are_refused(tmp_path: Path, method: int) -> None:
    refused(write(tmp_path, entry("method", "<H", method)), "not known here")


def test_patches_are_refused(tmp_path: Path) -> None:
    content = patched(local("flags", "<H", 0x20), b"PK\x01\x02", ENTRY["flags"], "<H", 0x20)
    refused(write(tmp_path, content), "not known here")


def test_stored_content_has_one_size(tmp_path: Path) -> None:
    content = make_zip([("a", FIRST)], method=0)
    for signature, places in ((b"PK\x03\x04", LOCAL), (b"PK\x01\x02", ENTRY)):
        content = patched(content, signature, places["size"], "<L", 7)
    refused(write(tmp_path, content), "two sizes")


@pytest.mark.parametrize(("place", "value"), [(2, 4), (4, 225), (4, 255)])
def test_headers_of_lzma_that_are_wrong(tmp_path: Path, place: int, value: int) -> None:
    content = make_zip([("a", FIRST)], zipfile.ZIP_LZMA)
    content = patched(content, b"PK\x03\x04", 31 + place, "<B", value)
    refused_by_unpack(write(tmp_path, content), "LZMA header")


@pytest.mark.parametrize("kind", [0o120777, 0o010644, 0o020644, 0o060644, 0o140755])
def test_links_and_devices_are_refused(tmp_path: Path, kind: int) -> None:
    refused(write(tmp_path, entry("mode", "<H", kind)), "link or device")


def test_file_that_is_a_directory_is_refused(tmp_path: Path) -> None:
    refused(write(tmp_path, entry("mode", "<H", 0o40755)), "a file and a directory")
    content = make_zip([("a/", b"content")], method=0)
    refused(write(tmp_path, content), "with content")


def resized(size: int) -> bytes:
    """An archive that says the same wrong size everywhere."""
    return patched(local("size", "<L", size), b"PK\x01\x02", ENTRY["size"], "<L", size)


@pytest.mark.parametrize("change", [-1, 1, -len(FIRST)])
def test_bytes_are_counted_while_unpacking(tmp_path: Path, change: int) -> None:
    refused_by_unpack(write(tmp_path, resized(len(FIRST) + change)), "not what was put in")


def test_bomb_that_lies_about_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []
    decompress = compression.decompress

    def counting(decompressor: compression.Decompressor, data: bytes) -> bytes:
        block = decompress(decompressor, data)
        made.append(len(block))
        return block

    content = make_zip([("a", bytes(50_000_000))])
    for signature, places in ((b"PK\x03\x04", LOCAL), (b"PK\x01\x02", ENTRY)):
        content = patched(content, signature, places["size"], "<L", 1000)
    monkeypatch.setattr(compression, "decompress", counting)
    refused_by_unpack(write(tmp_path, content), "not what was put in")
    assert sum(made) < 1_000_000


def test_more_behind_the_end_of_the_content(tmp_path: Path) -> None:
    """Two deflate streams where the directory has room for one."""
    packed = make_zip([("a", FIRST)])
    at = packed.index(b"PK\x01\x02")
    content = packed[:at] + b"more" + packed[at:]
    size = at - 31
    for signature, places in ((b"PK\x03\x04", LOCAL), (b"PK\x01\x02", ENTRY)):
        content = patched(content, signature, places["packed"], "<L", size + 4)
    content = patched(content, b"PK\x05\x06", END["offset"], "<L", at + 4)
    refused_by_unpack(write(tmp_path, content), "not what was put in")


def test_dictionary_of_lzma_is_bounded(tmp_path: Path) -> None:
    content = make_zip([("a", FIRST)], zipfile.ZIP_LZMA)
    # After the name: version, size of the properties, the properties: one byte and the size.
    content = patched(content, b"PK\x03\x04", 31 + 5, "<L", 0xFFFFFFFF)
    refused_by_unpack(write(tmp_path, content), "too much memory")


def test_endless_directory_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []
    original: Callable[..., object] = zips._check_kind

    def counting(member: object) -> None:
        read.append(1)
        original(member)

    monkeypatch.setattr(zips, "_check_kind", counting)
    archive = write(tmp_path, make_zip([(str(number), b"") for number in range(1000)]))
    with pytest.raises(InvalidUpload, match="at most 10"):
        archives.check(archive, [], limits(max_entries=10))
    assert len(read) == 11
