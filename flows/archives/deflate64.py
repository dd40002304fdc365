"""Deflate64, which Windows uses for files of more than 2 GB."""

import threading

import inflate64


class Inflate64:
    """inflate64's decompressor with the interface of the others.

    That one tells neither what it left of its input nor how much it will make of it, and never lets go of
    what it was given (version 1.0.4): so it gets little at a time, in buffers that all have in common.
    """

    _turn = threading.Lock()
    _buffers = tuple(bytearray(1 << power) for power in range(10, -1, -1))

    def __init__(self) -> None:
        self._inflater = inflate64.Inflater()
        self._input = memoryview(b"")
        self._plain = memoryview(b"")

    @property
    def eof(self) -> bool:
        return self._inflater.eof and not self._plain

    @property
    def needs_input(self) -> bool:
        return not (self._input or self._plain)

    @property
    def unused_data(self) -> bytes:
        """At least one byte of what follows the end."""
        return bytes(self._input)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if data:
            self._input = memoryview(data)
        parts = []
        while max_length and (self._plain or self._fill()):
            parts.append(self._plain[:max_length])
            max_length -= len(parts[-1])
            self._plain = self._plain[len(parts[-1]) :]
        return b"".join(parts)

    def _fill(self) -> bool:
        while self._input and not (self._plain or self._inflater.eof):
            # The last byte comes alone, so that none can hide behind the end.
            most = max(1, len(self._input) - 1)
            buffer = next(buffer for buffer in self._buffers if len(buffer) <= most)
            with self._turn:
                buffer[:] = self._input[: len(buffer)]
                self._plain = memoryview(self._inflater.inflate(buffer))
            self._input = self._input[len(buffer) :]
        return bool(self._plain)
