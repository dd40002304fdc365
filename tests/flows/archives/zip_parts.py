"""A zip archive of two files, and other bytes at places that are known by name."""

import struct

from tests.flows.archives.making import make_zip

# Places in a local header, in an entry of the directory and in the end record.
LOCAL = {"flags": 6, "method": 8, "crc": 14, "packed": 18, "size": 22, "name": 30}
ENTRY = {"flags": 8, "method": 10, "crc": 16, "packed": 20, "size": 24, "disk": 34, "mode": 40, "offset": 42}
END = {"disk": 4, "here": 8, "entries": 10, "size": 12, "offset": 16, "comment": 20}

FIRST, SECOND = b"first content " * 50, b"second"
PLAIN = make_zip([("a", FIRST), ("b", SECOND)])


def patched(content: bytes, signature: bytes, place: int, form: str, value: int | bytes) -> bytes:
    """Write the value at a place after the first occurrence of the signature."""
    result = bytearray(content)
    struct.pack_into(form, result, content.index(signature) + place, value)
    return bytes(result)


def local(field: str, form: str, value: int | bytes) -> bytes:
    return patched(PLAIN, b"PK\x03\x04", LOCAL[field], form, value)


def entry(field: str, form: str, value: int) -> bytes:
    return patched(PLAIN, b"PK\x01\x02", ENTRY[field], form, value)


def end(field: str, form: str, value: int) -> bytes:
    return patched(PLAIN, b"PK\x05\x06", END[field], form, value)


def with_zip64_end(content: bytes, changes: tuple[int, ...] = (0, 0, 0)) -> bytes:
    at = content.rindex(b"PK\x05\x06")
    _, _, _, _, entries, size, offset, _ = struct.unpack("<4s4H2LH", content[at:])
    entries, size, offset = (
        value + change for value, change in zip((entries, size, offset), changes, strict=True)
    )
    record = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, entries, entries, size, offset)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, at, 1)
    short = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    return content[:at] + record + locator + short
