"""What is said of the end of a file, whatever a command has made of it."""

import os
from pathlib import Path

import pytest

from flows.disk.last_line import LONGEST, last_line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", None),
        (b"\n \n\0\n", None),
        (b"one", "one"),
        (b"one\ntwo\n", "two"),
        (b"one\ntwo\n\n  \n", "two"),
        (b"10 %\r50 %\r100 %", "100 %"),
        (b"a\tb \x1b[31mred\x1b[0m\0!", "a b [31mred [0m !"),
        ("Größe \u2028λ".encode(), "λ"),
        (b"caf\xe9", "caf\ufffd"),
        (b"x" * (LONGEST + 1), "x" * (LONGEST - 1) + "…"),
        (b"x" * LONGEST, "x" * LONGEST),
        (b"first\n" + b"y" * 1_000_000 + b"\nlast", "last"),
        (b"first" + b"\n" * 1_000_000, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_is_said(tmp_path: Path, content: bytes, said: str | None) -> None:
    (tmp_path / "file").write_bytes(content)
    assert last_line(tmp_path / "file") == said


def test_what_is_no_file_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("of somebody else")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "directory").mkdir()
    for name in ("link", "pipe", "directory", "missing"):
        assert last_line(tmp_path / name) is None
