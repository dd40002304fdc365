"""Files that are embedded in JSON as text: the command gets a file's path in place of the text.

Which ones, the schema says: text with ``contentMediaType`` is a file, base64 if ``contentEncoding`` says so.
"""

import base64
import binascii
import itertools
import mimetypes
import os
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from api.interactive.scratch import remove_directory
from api.values.complaints import place
from api.values.schema import InputSchema
from flows.configuration.json_schemas import pointed
from flows.errors import InvalidUpload

_Schema = dict[str, Any]
_Trail = list[str | int]


class TemporaryFiles:
    """A directory of one command's files, made when the first one comes. The methods wait for the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._numbers = itertools.count(1)

    def add(self, content: bytes, media_type: str) -> Path:
        """Return the path of a new file; some programs look at how its name ends."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        ending = mimetypes.guess_extension(media_type.partition(";")[0].strip()) or ""
        path = self._directory / f"{next(self._numbers)}{ending}"
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        return path

    def remove(self) -> None:
        """Remove everything; harmless where nothing was made."""
        if self._directory.exists():
            remove_directory(self._directory)


def extracted(schema: InputSchema, values: dict[str, Any], files: TemporaryFiles) -> dict[str, Any]:
    """Return the values, which are valid, with paths in place of embedded files; raise InvalidUpload."""
    found: dict[str, Any] = _Extraction(schema, files).of([schema.schema], values, [])
    return found


class _Extraction:
    """Walks through the values, with the parts of the schema that are about each."""

    def __init__(self, schema: InputSchema, files: TemporaryFiles) -> None:
        self._validator = schema.validator
        self._root = schema.schema
        self._files = files

    def of(self, schemas: Iterable[Any], value: Any, trail: _Trail) -> Any:
        """Return what comes in place of the value."""
        about = [part for schema in schemas for part in self._applying(schema, value)]
        if isinstance(value, str):
            return self._text(about, value, trail)
        if isinstance(value, dict):
            return {
                name: self.of(_of_member(about, name), part, [*trail, name]) for name, part in value.items()
            }
        if isinstance(value, list):
            return [
                self.of(_of_item(about, index), part, [*trail, index]) for index, part in enumerate(value)
            ]
        return value

    def _text(self, about: list[_Schema], text: str, trail: _Trail) -> str:
        for schema in about:
            encoding, media_type = schema.get("contentEncoding"), schema.get("contentMediaType")
            if isinstance(media_type, str) and encoding in _DECODERS:
                try:
                    return str(self._files.add(_DECODERS[encoding](text), media_type))
                except binascii.Error as error:
                    raise InvalidUpload(
                        f"Field {place(trail)} is not base64; encode the file again."
                    ) from error
        return text

    def _applying(self, schema: Any, value: Any) -> Iterator[_Schema]:
        """Yield the schema and those in it that are about the same value."""
        if not isinstance(schema, dict):
            return
        yield schema
        if "$ref" in schema:
            yield from self._applying(pointed(self._root, schema["$ref"]), value)
        for part in schema.get("allOf", ()):
            yield from self._applying(part, value)
        for part in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
            if self._fits(part, value):
                yield from self._applying(part, value)
        if "if" in schema:
            branch = "then" if self._fits(schema["if"], value) else "else"
            yield from self._applying(schema.get(branch), value)

    def _fits(self, schema: Any, value: Any) -> bool:
        return self._validator.evolve(schema=schema).is_valid(value)


def _of_member(schemas: list[_Schema], name: str) -> Iterator[Any]:
    for schema in schemas:
        named = schema.get("properties", {})
        patterns = [
            part for pattern, part in schema.get("patternProperties", {}).items() if re.search(pattern, name)
        ]
        yield from patterns
        if name in named:
            yield named[name]
        elif not patterns:
            yield schema.get("additionalProperties")


def _of_item(schemas: list[_Schema], index: int) -> Iterator[Any]:
    for schema in schemas:
        first = schema.get("prefixItems", [])
        yield first[index] if index < len(first) else schema.get("items")


def _from_base64(text: str) -> bytes:
    try:
        # Lines, as many programs write them, are not of the alphabet.
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:  # characters outside of ASCII
        raise binascii.Error(str(error)) from error


# By contentEncoding. What is encoded otherwise stays a text.
_DECODERS: dict[object, Callable[[str], bytes]] = {
    None: str.encode,
    "7bit": str.encode,
    "8bit": str.encode,
    "binary": str.encode,
    "base64": _from_base64,
}
