"""Archives for the tests, good and bad ones."""

import bz2
import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from flows.archives.compression import zstd

Members = Iterable[tuple[str, bytes]]


def make_zip(members: Members, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Names that end in a slash are directories."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, data in members:
            member = zipfile.ZipInfo(name)
            member.compress_type = method
            member.external_attr = (0o40755 if name.endswith("/") else 0o100644) << 16
            archive.writestr(member, data)
    return content.getvalue()


def make_tar(members: Members, form: int = tarfile.PAX_FORMAT) -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=form) as archive:
        for name, data in members:
            member = tarfile.TarInfo(name.removesuffix("/"))
            member.mode = 0o644
            if name.endswith("/"):
                member.type = tarfile.DIRTYPE
            else:
                member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zstd.compress,
}

FORMATS: dict[str, Callable[[Members], bytes]] = {
    "zip": make_zip,
    "tar": make_tar,
    "tar.gz": lambda members: gzip.compress(make_tar(members)),
    "tar.bz2": lambda members: bz2.compress(make_tar(members)),
    "tar.xz": lambda members: lzma.compress(make_tar(members)),
    "tar.zst": lambda members: zstd.compress(make_tar(members)),
}


def tree(directory: Path) -> dict[str, bytes | None]:
    """Return what is in the directory: content of files, None for directories."""
    return {
        str(path.relative_to(directory)): None if path.is_dir() else path.read_bytes()
        for path in sorted(directory.rglob("*"))
    }


END = bytes(1024)


def header(**fields: Any) -> bytes:
    """Return one header, with a right checksum."""
    member = tarfile.TarInfo(fields.pop("name", "m"))
    for field, value in fields.items():
        setattr(member, field, value)
    return member.tobuf(tarfile.USTAR_FORMAT)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def extended(kind: bytes, data: bytes) -> bytes:
    return header(type=kind, size=len(data)) + padded(data)


def record(key: str, value: str) -> bytes:
    text = f" {key}={value}\n".encode()
    size = len(text) + 1
    while len(str(size)) + len(text) != size:
        size += 1
    return str(size).encode() + text
