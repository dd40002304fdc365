"""What is wrong with values, told to those who sent them: each thing once, and each field once."""

import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jsonschema import ValidationError

_MOST = 5  # fields
_MAX_MESSAGE = 300
_MAX_VALUE = 60

Mistake = tuple[str, str]
"""The value, if that is how the sentence begins, and what is wrong with it."""


def complaint(errors: Iterable["ValidationError"]) -> str:
    """Return one sentence for all errors."""
    missing: dict[str, None] = {}
    unknown: dict[str, None] = {}
    wrong: dict[str, dict[Mistake, None]] = {}
    for error in errors:
        path = list(error.absolute_path)
        if error.validator == "required":
            missing |= dict.fromkeys(place([*path, name]) for name in _missing(error))
        elif error.validator == "additionalProperties" and error.validator_value is False:
            unknown |= dict.fromkeys(place([*path, name]) for name in _unknown(error))
        else:
            wrong.setdefault(place(path), {})[_mistake(error)] = None
    told = [
        *_about(missing, "is missing", "are missing"),
        *_about(unknown, "is not known", "are not known"),
        *(_wrong(field, list(mistakes)) for field, mistakes in wrong.items()),
    ]
    more = [f"{len(told) - _MOST} more fields are wrong"] if len(told) > _MOST else []
    return "; ".join([*told[:_MOST], *more]) + "."


def place(path: list[str | int]) -> str:
    """Return the name of a field, one in another with a dot between."""
    name = ".".join(str(part) for part in path)
    return shortened(name if name.isprintable() else repr(name)[1:-1])


def shortened(text: str) -> str:
    """Return the text, or its beginning, for a message."""
    return text if len(text) <= _MAX_MESSAGE else f"{text[:_MAX_MESSAGE]}…"


def _about(fields: Iterable[str], one: str, several: str) -> Iterator[str]:
    names = list(map(_begun, fields))
    if len(names) > _MOST:
        yield f"Fields {', '.join(names[:_MOST])} and {len(names) - _MOST} more {several}"
    elif len(names) > 1:
        yield f"Fields {', '.join(names[:-1])} and {names[-1]} {several}"
    elif names:
        yield f"Field {names[0]} {one}"


def _wrong(field: str, mistakes: list[Mistake]) -> str:
    said = shortened(_joined(mistakes, "and"))
    return f"Field {field}: {said}" if field else f"The fields are not complete or correct: {said}"


def _joined(mistakes: list[Mistake], word: str) -> str:
    """Return mistakes as one, with the value once."""
    value = mistakes[0][0]
    return value + f" {word} ".join(said if value == other else other + said for other, said in mistakes)


def _mistake(error: "ValidationError") -> Mistake:
    value = repr(error.instance)
    context = error.context or []
    if error.validator in {"anyOf", "oneOf"} and context and not any(part.relative_path for part in context):
        said = _joined(list(dict.fromkeys(map(_mistake, context))), "or").removeprefix(f"{_begun(value)} ")
    else:
        said = error.message.removeprefix(f"{value} ")
    return (_begun(value) + " ", said) if said != error.message else ("", said)


def _begun(value: str) -> str:
    return value if len(value) <= _MAX_VALUE else f"{value[:_MAX_VALUE]}…"


def _missing(error: "ValidationError") -> list[str]:
    # There is an error for each name, with all names in it.
    demanded: Any = error.validator_value
    given: Any = error.instance
    return [name for name in demanded if name not in given]


def _unknown(error: "ValidationError") -> list[str]:
    schema: Any = error.schema
    given: Any = error.instance
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    return sorted(
        name
        for name in given
        if name not in known and not any(re.search(pattern, name) for pattern in patterns)
    )
