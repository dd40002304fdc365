"""What directories take."""

import os
from pathlib import Path

from flows.disk.trees import size_of


def test_bytes_of_all_files_each_once(tmp_path: Path) -> None:
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "deep" / "er" / "b").write_bytes(b"123")
    os.link(tmp_path / "a", tmp_path / "deep" / "again")
    (tmp_path / "away").symlink_to("/usr")  # which is not looked into
    (tmp_path / "unreadable").mkdir(mode=0)
    assert size_of(tmp_path) == 5 + 3


def test_what_is_not_there_has_none(tmp_path: Path) -> None:
    assert size_of(tmp_path / "none") == 0
