"""Text of commands that knows what of it the template wrote and what is a value.

As a string it is what it says, without quotes; these come last. So what a filter makes of it is quoted once,
and what lost track of its parts is one value as a whole.
"""

import json
import re
from collections.abc import Callable, Iterable
from typing import Any, SupportsIndex

from jinja2 import Undefined

Part = tuple[str, bool]
"""Text, and whether the template wrote it."""

_CONVERSION = re.compile(r"(%(?:\(\w+\))?[-#0 +]*[0-9]*(?:\.[0-9]+)?[a-zA-Z%])")


class ShellText(str):
    """A string of parts. Without ``parts`` it is a value."""

    __slots__ = ("parts",)
    parts: tuple[Part, ...]

    def __new__(cls, text: str = "", parts: Iterable[Part] | None = None) -> "ShellText":
        """``text`` is what the parts are together."""
        self = super().__new__(cls, text)
        self.parts = ((str.__str__(text), False),) if parts is None else tuple(parts)
        return self

    def __str__(self) -> str:
        return self

    def __add__(self, other: str) -> "ShellText":
        return concatenated((self, other))

    def __radd__(self, other: str) -> "ShellText":
        return concatenated((other, self))

    def __mod__(self, values: Any) -> "ShellText":
        if not all(literal for _, literal in self.parts):
            return ShellText(super().__mod__(values))
        each = iter(values if isinstance(values, tuple) else (values,))
        pieces = _CONVERSION.split(self)
        pieces[::2] = map(literal, pieces[::2])
        for number, conversion in enumerate(pieces[1::2]):
            if conversion.endswith("%"):
                pieces[2 * number + 1] = literal("%")
            elif conversion == "%s":
                pieces[2 * number + 1] = shown(next(each))
            else:
                pieces[2 * number + 1] = conversion % (values if "(" in conversion else next(each))
        return concatenated(pieces)

    def join(self, texts: Iterable[Any], /) -> "ShellText":
        pieces = [piece for text in texts for piece in (self, text)]
        return concatenated(pieces[1:])

    def replace(self, old: str, new: str, count: SupportsIndex = -1, /) -> "ShellText":
        if count != -1:
            return ShellText(super().replace(old, new, count))
        pieces: list[str] = []
        for text, is_literal in self.parts:
            if is_literal:
                pieces.append(shown(new).join(map(literal, text.split(old))) if old else literal(text))
            else:
                pieces.append(text.replace(old, new))
        return concatenated(pieces)

    def _each(self, change: Callable[[str], str]) -> "ShellText":
        return concatenated(literal(change(text)) if ours else change(text) for text, ours in self.parts)

    def upper(self) -> "ShellText":
        return self._each(str.upper)

    def lower(self) -> "ShellText":
        return self._each(str.lower)

    def strip(self, characters: str | None = None, /) -> "ShellText":
        pieces = [literal(text) if is_literal else text for text, is_literal in self.parts]
        if pieces:
            pieces[0] = _stripped(pieces[0], str.lstrip, characters)
            pieces[-1] = _stripped(pieces[-1], str.rstrip, characters)
        return concatenated(pieces)


def _stripped(text: str, strip: Callable[[str, str | None], str], characters: str | None) -> str:
    return literal(strip(text, characters)) if isinstance(text, ShellText) else strip(text, characters)


def literal(text: str) -> ShellText:
    """Return text that goes into the command as it is."""
    plain = str.__str__(text)
    return ShellText(plain, [(plain, True)] if plain else [])


def shown(value: object) -> ShellText:
    """Return a value as a template of a JSON schema's values expects it; what was not sent is nothing."""
    if isinstance(value, ShellText):
        return value
    return literal("") if isinstance(value, Undefined) else ShellText(_as_text(value))


def quoted(value: object) -> ShellText:
    """Return one word; of a list, one for each item."""
    if isinstance(value, Iterable) and not isinstance(value, (str, dict, Undefined)):
        return literal(" ").join(quoted(_as_text(item)) for item in value)
    return ShellText(_as_text(value))


def unquoted(value: object) -> ShellText:
    """Return a value as text of the template."""
    return literal(_as_text(value))


def concatenated(pieces: Iterable[object]) -> ShellText:
    """Return the pieces one after the other; those that are no ShellText are values."""
    parts: list[Part] = []
    for text, ours in (part for piece in pieces for part in shown(piece).parts):
        # As one: what a text of the shell's means depends on how it goes on.
        if ours and parts and parts[-1][1]:
            text = parts.pop()[0] + text
        parts.append((text, ours))
    return ShellText("".join(text for text, _ in parts), parts)


def _as_text(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)
