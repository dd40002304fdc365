"""Archives that are refused, before and while they are unpacked."""

from pathlib import Path

import pytest

from flows import archives
from flows.archives.limits import UploadLimits
from flows.errors import InvalidUpload

LIMITS = UploadLimits(min_free_bytes=0)


def write(directory: Path, content: bytes) -> Path:
    path = directory / "upload.archive"
    path.write_bytes(content)
    return path


def limits(**changes: int) -> UploadLimits:
    return LIMITS.model_copy(update=changes)


def refused(path: Path, words: str, limits: UploadLimits = LIMITS) -> None:
    """Neither accepted nor unpacked, and nothing is left of trying."""
    with pytest.raises(InvalidUpload, match=words) as caught:
        archives.check(path, [], limits)
    assert str(caught.value).count(". ") == 0
    assert str(caught.value).endswith(".")
    refused_by_unpack(path, words, limits)


def refused_by_unpack(path: Path, words: str, limits: UploadLimits = LIMITS) -> None:
    before = set(path.parent.rglob("*"))
    with pytest.raises(InvalidUpload, match=words):
        archives.unpack(path, path.parent / "job", limits)
    assert set(path.parent.rglob("*")) == before
