"""Files that a command may still write to, or replace, truncate and move away: opened anew for each read.

The functions wait for the disk: call them in a thread.
"""

import codecs
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from api.files.open_file import NotThere, OpenFile, open_directly_in

MOST_LINES = 10_000
MOST_TAIL = 1 << 20  # bytes
_BLOCK = 1 << 16


@dataclass(frozen=True, slots=True)
class Position:
    """Up to where a file was read.

    Another file of its name has another ``inode``, and is read from its beginning.
    """

    inode: int = 0
    offset: int = 0

    def in_file(self, file: OpenFile) -> "Position":
        """Return where to read on in what has the name now."""
        same = self.inode == file.status.st_ino and self.offset <= file.size
        return self if same else Position(file.status.st_ino)


@dataclass(frozen=True, slots=True)
class Piece:
    """What came next in a file, the position after it, and how much more was there."""

    content: bytes
    position: Position
    left: int


def read_on(directory: Path, name: str, position: Position, most: int, *, whole: bool = False) -> Piece:
    """Read from the position on. Where no such file is, there is nothing now.

    ``whole`` leaves the beginning of a UTF-8 character whose end is not there yet for later.
    """
    try:
        file = open_directly_in(directory, name)
    except NotThere:
        return Piece(b"", position, 0)
    with closing(file):
        start = position.in_file(file)
        content = file.read_at_most(start.offset, most)
        if whole:
            content = content[: codecs.utf_8_decode(content, "replace", False)[1]]
        end = Position(file.status.st_ino, start.offset + len(content))
        return Piece(content, end, max(file.size - end.offset, 0))


def tail_start(directory: Path, name: str, lines: int) -> Position:
    """Return where the last lines of a file begin, or MOST_TAIL bytes before its end.

    Raises NotThere.
    """
    with closing(open_directly_in(directory, name)) as file:
        return Position(file.status.st_ino, _start_of_lines(file, file.size, lines))


def _start_of_lines(file: OpenFile, end: int, lines: int) -> int:
    if not lines:
        return end
    first = max(end - MOST_TAIL, 0)
    position = end - 1  # a newline at the very end is of the last line
    while position > first:
        length = min(_BLOCK, position - first)
        block = file.read_at_most(position - length, length)
        count = block.count(b"\n")
        if count < lines:
            lines -= count
            position -= length
            continue
        place = len(block)
        for _ in range(lines):
            place = block.rindex(b"\n", 0, place)
        return position - length + place + 1
    return first
