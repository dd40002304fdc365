"""How a value is written where it stands in a shell command: so that it is there as it is, and not executed.

What a template writes around a value decides that: ``"{{ x }}"`` needs other quotes than ``{{ x }}``. So the
text before it is read as sh, bash and dash agree to read it. Where they do not, or where no quotes help, only
numbers may stand.
"""

import re
import shlex
from collections.abc import Iterable
from itertools import pairwise

_PLAIN, _SINGLE, _DOUBLE, _SUBSHELL = "plain", "'", '"', "("
# What looks like a comment goes on with the word before it, or may; what bash alone calculates is no word.
_NO_COMMENTS = r"""(?P<quotes>\\[^\S\n]\#|(?<![\s;&|(<>])\\\n\#|(?<=\))\#|\$\[)"""
_COMMANDS = re.compile(
    _NO_COMMENTS
    + r"""|\\(?:(?s:.)|\Z)|\$(?:'|\(\(|\(|\{|\Z)|<<<|<<|\(\(|[`'"()]|(?:(?<=[\s;&|()<>])|\A)\#|\bcase\b"""
)
# What begins or ends something, by what it is in.
_TOKENS = {
    _PLAIN: _COMMANDS,
    _SUBSHELL: _COMMANDS,
    _SINGLE: re.compile("'"),
    _DOUBLE: re.compile(r"""(?P<quotes>\$\[)|\\(?:(?s:.)|\Z)|\$(?:\(\(|\(|\{|\Z)|[`"]"""),
    "`": re.compile(r"""[\\'"`]"""),
    "${": re.compile(r"""[\\'"`${}]"""),
    "((": re.compile(r"""[\\'"`$()]"""),
    "#": re.compile("\n"),
}
_ENDS = {(_SINGLE, "'"), (_DOUBLE, '"'), (_SUBSHELL, ")"), ("`", "`"), ("${", "}"), ("((", ")"), ("#", "\n")}
_UNSURE = "quotes"
_NO_PLACE = {
    "`": "in backquotes; write $(…) instead of them",
    "${": "in ${…}; give it to a variable first",
    "((": "in ((…)), and it is no number",
    "#": "in a comment; remove it there",
    "<<": "in a here-document, or after one; use printf instead",
    "case": "in a case of a subshell, or after it; give it to a variable first",
    _UNSURE: "after quotes or a # that not every shell reads alike; write them without $ and backslashes",
}
_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][-+]?[0-9]+)?", re.ASCII)


class Misplaced(ValueError):
    """A value stands where it cannot be quoted; the text says where, as the end of a sentence."""


class _Reader:
    """Knows what a command is in after what it has read: the innermost last."""

    def __init__(self) -> None:
        self._around = [_PLAIN]
        self._before = ""  # a letter once there was a value: what follows does not begin a word
        self._open = False  # the last character is one that the next belongs to

    def literal(self, text: str) -> None:
        """Read all that the template wrote up to the next value."""
        text, position, token = self._before + text, len(self._before), ""
        while (tokens := _TOKENS.get(self._around[-1])) and (found := tokens.search(text, position)):
            position, token = found.end(), found.lastgroup or found[0]
            self._read(token)
        self._open = position == len(text) and token in {"\\", "$"}

    def _read(self, token: str) -> None:
        around = self._around[-1]
        if (around, token) in _ENDS:
            self._around.pop()
        elif around in {_PLAIN, _SUBSHELL, _DOUBLE}:
            self._enter(token)
        elif (around, token) == ("((", "("):
            self._around.append("((")
        else:
            self._around.append(_UNSURE)

    def _enter(self, token: str) -> None:
        match token:
            case "$((" | "((":
                self._around += ["((", "(("]  # one for each parenthesis
            case "$(" | "(":
                self._around.append(_SUBSHELL)
            case "$'":
                self._around.append(_UNSURE)
            case "case" if self._around == [_PLAIN]:
                pass  # where there is no parenthesis to close, its own close nothing
            case _ if token in _TOKENS or token in _NO_PLACE:
                self._around.append(token)

    def value(self, text: str, following: str) -> str:
        """Return how the value is written here, before what is ``following``; raise Misplaced."""
        if self._open:
            raise Misplaced("directly after a backslash or a $; put these into quotes")
        self._before = "x"
        problem = next((_NO_PLACE[part] for part in self._around if part in _NO_PLACE), None)
        if problem and not _NUMBER.fullmatch(text):
            raise Misplaced(problem)
        if problem:
            return text
        quote = self._around[-1] if self._around[-1] in {_SINGLE, _DOUBLE} else ""
        if text.isdecimal() and following.startswith(("<", ">")):
            return f"{quote}'{text}'{quote}"  # else it would say what is redirected
        return f"{quote}{shlex.quote(text)}{quote}"


def command(parts: Iterable[tuple[str, bool]]) -> str:
    """Return what the parts make: each is text of the template (true) or a value. Raises Misplaced."""
    reader, written = _Reader(), []
    for (text, literal), (following, _) in pairwise([*parts, ("", True)]):
        if literal:
            reader.literal(text)
        written.append(text if literal else reader.value(text, following))
    return "".join(written)
