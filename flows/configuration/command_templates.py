"""Commands of applications: Jinja templates whose variables come out quoted for the shell."""

import functools
import json
import shlex
from collections.abc import Mapping
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flows.errors import ConfigurationError, InvalidUpload


class _Literal(str):
    """Text that goes into the command as it is."""

    __slots__ = ()


def _quoted(value: object) -> _Literal:
    return value if isinstance(value, _Literal) else _Literal(shlex.quote(_as_text(value)))


def _as_text(value: object) -> str:
    # As JSON writes them: what a template of a JSON schema's values expects.
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False)
    return "" if value is None else str(value)


_environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, finalize=_quoted)
_environment.filters["q"] = _quoted  # the original's opt-in: quoted by default here, and not twice
_environment.filters["unquoted"] = lambda value: _Literal(_as_text(value))


@functools.lru_cache(maxsize=1000)
def parse(template: str) -> Template:
    """Raise ConfigurationError with the line of a syntax error."""
    try:
        return _environment.from_string(template)
    except TemplateSyntaxError as error:
        raise ConfigurationError(f"line {error.lineno}: {error.message}") from error


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the command with every ``{{ variable }}`` quoted for the shell.

    ``{{ variable|unquoted }}`` opts out. Raises InvalidUpload for a variable that has no value and for a
    NUL character, which no command can carry.
    """
    try:
        command = parse(template).render(values)
    except Exception as error:  # whatever a template does with values that its author did not think of
        problem = str(error) or type(error).__name__
        raise InvalidUpload(f"The command cannot be made from what was sent: {problem}.") from error
    if "\0" in command:
        raise InvalidUpload("A field has a NUL character; leave it out.")
    return command
