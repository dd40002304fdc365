"""Files with holes in tar archives, in version 1.0 of GNU's way to store them in pax.

bsdtar uses it for every file that has holes, without being asked.
"""

from collections.abc import Callable, Iterable, Iterator

from flows.archives.compression import BLOCK
from flows.errors import InvalidUpload

_MAX_MAP = 1 << 20
_MAX_DIGITS = 19
_HOLE = bytes(BLOCK)

Extent = tuple[int, int]
"""Where data belongs in the file, and how many bytes."""


def read_map(next_record: Callable[[], bytes], stored: int, size: int) -> tuple[list[Extent], int]:
    """Return where the data belongs that follows the map, and the length of the map.

    A file of ``size`` bytes takes ``stored`` bytes with its map. Raises InvalidUpload unless all fits.
    """
    numbers = _Numbers(next_record)
    extents = [(numbers.next(), numbers.next()) for _ in range(numbers.next())]
    end = 0
    for offset, length in extents:
        if offset < end:
            raise _damaged()
        end = offset + length
    if end > size or sum(length for _, length in extents) != stored - numbers.read:
        raise _damaged()
    return extents, numbers.read


def filled(read: Callable[[int], Iterator[bytes]], extents: Iterable[Extent], size: int) -> Iterator[bytes]:
    """Yield the whole file, of which ``read`` yields so many bytes of data."""
    at = 0
    for offset, length in extents:
        yield from _zeros(offset - at)
        yield from read(length)
        at = offset + length
    yield from _zeros(size - at)


class _Numbers:
    """Decimal numbers, a line for each, in records of the archive."""

    def __init__(self, next_record: Callable[[], bytes]) -> None:
        self.read = 0
        self._next_record = next_record
        self._text = b""

    def next(self) -> int:
        while b"\n" not in self._text:
            if len(self._text) > _MAX_DIGITS or self.read >= _MAX_MAP:
                raise _damaged()
            record = self._next_record()
            self.read += len(record)
            self._text += record
        digits, _, self._text = self._text.partition(b"\n")
        if len(digits) > _MAX_DIGITS or not digits.isdigit():
            raise _damaged()
        return int(digits)


def _zeros(size: int) -> Iterator[bytes]:
    while size:
        part = _HOLE[:size]
        yield part
        size -= len(part)


def _damaged() -> InvalidUpload:
    return InvalidUpload("The tar archive is damaged (the map of a sparse file is wrong); make it again.")
