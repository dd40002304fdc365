"""The text fields of a submission: from text to the values of the application's schema, to its command."""

import json
import math
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from api.values.complaints import shortened
from api.values.schema import InputSchema, rendered
from flows.configuration.config import Application
from flows.configuration.json_schemas import about_the_same
from flows.errors import InvalidUpload

_INTEGER = re.compile(r"[+-]?[0-9]{1,400}", re.ASCII)
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]{1,4})?", re.ASCII)
_BOOLEANS = {
    "true": True,
    "on": True,
    "yes": True,
    "1": True,
    "false": False,
    "off": False,
    "no": False,
    "0": False,
}


class ApplicationForm:
    """What an application takes besides the archive."""

    def __init__(self, application: Application) -> None:
        self.application = application
        self._schema = InputSchema(application.input_schema or {})

    def command(self, fields: Iterable[tuple[str, str]]) -> str:
        """Return the command that the fields make; raise InvalidUpload that names those that are wrong."""
        return rendered(self.application.command_template, self.values(fields))

    def values(self, fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
        """Return the fields as values of the schema's types, defaults filled in."""
        texts: dict[str, list[str]] = {}
        for name, text in fields:
            texts.setdefault(name, []).append(text)
        return self._schema.completed({name: self._value(name, several) for name, several in texts.items()})

    def _value(self, name: str, texts: list[str]) -> Any:
        root = self._schema.schema
        schema = root.get("properties", {}).get(name)
        if len(texts) == 1:
            return from_text(texts[0], schema, root)
        if "array" not in _types(schema, root):
            raise InvalidUpload(f"Field {shortened(name)} was sent {len(texts)} times; send it once.")
        return [_item(text, schema, root) for text in texts]


def from_text(text: str, schema: Any, root: dict[str, Any]) -> Any:
    """Return the value that the text stands for in the first of the schema's types that it fits.

    Text that fits none of them is returned as it is: validation then says what was expected.
    """
    types = _types(schema, root)
    value = _converted(text, types)
    return [_item(text, schema, root)] if value is text and types == {"array"} else value


def _item(text: str, schema: Any, root: dict[str, Any]) -> Any:
    """Return the only item of an array, or one of several that were sent."""
    items = (part["items"] for part in about_the_same(schema, root) if "items" in part)
    return _converted(text, _types(next(items, None), root))


def _types(schema: Any, root: dict[str, Any]) -> frozenset[str]:
    """Return the types that a schema allows, those of its alternatives included."""
    found = (part.get("type", []) for part in about_the_same(schema, root))
    return frozenset().union(*([types] if isinstance(types, str) else types for types in found))


def _converted(text: str, types: frozenset[str]) -> Any:
    for name, conversion in _CONVERSIONS.items():
        if name in types:
            with suppress(ValueError):
                return conversion(text)
    return text


def _null(text: str) -> None:
    if text != "null":
        raise ValueError(text)


def _boolean(text: str) -> bool:
    if text.lower() not in _BOOLEANS:
        raise ValueError(text)
    return _BOOLEANS[text.lower()]


def _integer(text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise ValueError(text)
    return int(text)


def _number(text: str) -> float:
    if not _NUMBER.fullmatch(text) or not math.isfinite(float(text)):
        raise ValueError(text)
    return int(text) if _INTEGER.fullmatch(text) else float(text)


def _json_of(expected: type) -> Callable[[str], Any]:
    def from_json(text: str) -> Any:
        try:
            value = json.loads(text)
        except RecursionError as error:
            raise ValueError("too deep") from error
        if not isinstance(value, expected):
            raise ValueError(text)  # noqa: TRY004 - one exception for all texts that do not fit
        return value

    return from_json


# The stricter ones first: "1" is an integer where the schema allows a boolean as well.
_CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "null": _null,
    "integer": _integer,
    "number": _number,
    "boolean": _boolean,
    "object": _json_of(dict),
    "array": _json_of(list),
}
