"""A multipart/form-data body as it arrives: one file straight to where it stays, and text fields."""

from collections.abc import Callable
from typing import Any

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from api.submission.job_name import sent_name
from flows.errors import InvalidUpload

FORM_TYPE = "multipart/form-data"
MAX_TEXT = 1 << 20  # bytes of all text fields together
MAX_PARTS = 1000

_NOT_MULTIPART = "The body is not the multipart/form-data that its Content-Type announces."


class FormBody:
    """A form: its part named ``upload`` is the archive, the others are text fields."""

    # The text fields, and the headers and boundary of each part.
    most_besides = MAX_TEXT + MAX_PARTS * 1024

    def __init__(self, content_type: str, write: Callable[[memoryview], None]) -> None:
        self.fields: list[tuple[str, str]] = []
        self.file_name: str | None = None
        self._write = write
        self._has_file = False
        self._ended = False
        self._parts = 0
        self._text_size = 0
        self._start_part()
        callbacks: Any = {
            "on_part_begin": self._start_part,
            "on_header_field": self._add_to_header_name,
            "on_header_value": self._add_to_header_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._add_to_part,
            "on_part_end": self._end_part,
            "on_end": self._end,
        }
        _, options = parse_options_header(content_type)
        try:
            self._parser = MultipartParser(options[b"boundary"], callbacks)
        except (KeyError, FormParserError) as error:
            raise InvalidUpload("The Content-Type has no usable boundary.") from error

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise InvalidUpload(_NOT_MULTIPART) from error

    def finish(self) -> None:
        if not self._ended:
            raise InvalidUpload(_NOT_MULTIPART)
        if not self._has_file:
            raise InvalidUpload("Field upload is missing: send the archive in it.")

    def _start_part(self) -> None:
        self._header_name = b""
        self._header_value = b""
        self._disposition = b""
        self._name = ""
        self._text = bytearray()

    def _add_to_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_to_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        if self._header_name.lower() == b"content-disposition":
            self._disposition = self._header_value
        self._header_name = self._header_value = b""

    def _end_headers(self) -> None:
        self._parts += 1
        if self._parts > MAX_PARTS:
            raise InvalidUpload(f"The form has too many fields; at most {MAX_PARTS} are allowed.")
        _, options = parse_options_header(self._disposition)
        self._name = _decoded(options.get(b"name", b""))
        if not self._name:
            raise InvalidUpload("A field of the form has no name.")
        if self._name == "upload":
            if self._has_file:
                raise InvalidUpload("Field upload was sent twice; send one archive.")
            self._has_file = True
            self.file_name = sent_name(self._disposition.decode("iso-8859-1"))

    def _add_to_part(self, data: bytes, start: int, end: int) -> None:
        if self._name == "upload":
            self._write(memoryview(data)[start:end])
            return
        self._text_size += end - start
        if self._text_size > MAX_TEXT:
            raise InvalidUpload(
                f"The text fields are too long; {MAX_TEXT} bytes are allowed for all of them."
            )
        self._text += data[start:end]

    def _end_part(self) -> None:
        if self._name != "upload":
            self.fields.append((self._name, _decoded(self._text)))

    def _end(self) -> None:
        self._ended = True


def _decoded(text: bytes | bytearray) -> str:
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise InvalidUpload("The form has text that is not UTF-8; encode it so.") from error
