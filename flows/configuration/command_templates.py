"""Commands of applications: Jinja templates whose variables come out quoted for the shell.

``shell_text`` keeps the template's own words, which are the operator's, apart from the values of visitors;
``shell_quotes`` writes these.
"""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from jinja2 import Template, TemplateSyntaxError, Undefined, meta, nodes, pass_context, pass_eval_context
from jinja2.compiler import CodeGenerator, Frame
from jinja2.filters import make_attrgetter
from jinja2.nodes import EvalContext
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment

from flows.configuration import shell_quotes
from flows.configuration.shell_text import ShellText, concatenated, literal, quoted, shown, unquoted
from flows.errors import ConfigurationError, InvalidUpload


class _CodeGenerator(CodeGenerator):
    """Marks what the template itself has as text, so that all else is a value."""

    def _output_const_repr(self, group: Iterable[Any]) -> str:
        return f"environment.literal({super()._output_const_repr(group)})"

    def visit_Const(self, node: nodes.Const, frame: Frame) -> None:  # noqa: N802 - Jinja calls it
        if isinstance(node.value, str):
            self.write(f"environment.literal({node.value!r})")
        else:
            super().visit_Const(node, frame)

    def visit_Concat(self, node: nodes.Concat, frame: Frame) -> None:  # noqa: N802
        self.write("environment.concat((")
        for part in node.nodes:
            self.visit(part, frame)
            self.write(", ")
        self.write("))")


class _Environment(ImmutableSandboxedEnvironment):
    code_generator_class = _CodeGenerator
    concat: Callable[[Iterable[object]], str] = staticmethod(concatenated)
    literal = staticmethod(literal)


@pass_eval_context  # else Jinja makes plain text of it before anybody asks for the command
def _finalize(_context: EvalContext, value: object) -> ShellText:
    return shown(value)


_NOTHING = literal("")


def _default(value: Any, default_value: Any = _NOTHING, boolean: bool = False) -> Any:
    return default_value if isinstance(value, Undefined) or (boolean and not value) else value


@pass_context
def _join(context: Context, value: Iterable[Any], d: object = _NOTHING, attribute: Any = None) -> ShellText:
    if attribute is not None:
        value = map(make_attrgetter(context.environment, attribute), value)
    return shown(d).join(value)


def _environment() -> _Environment:
    environment = _Environment(
        trim_blocks=True, lstrip_blocks=True, optimized=False, finalize=_finalize, undefined=Undefined
    )
    environment.filters |= {
        "q": quoted,  # the original's opt-in: quoted by default here, and not twice
        "unquoted": unquoted,
        "default": _default,
        "d": _default,
        "join": _join,
    }
    return environment


_ENVIRONMENT = _environment()


@functools.lru_cache(maxsize=1000)
def parse(template: str) -> Template:
    """Raise ConfigurationError with the line of a syntax error."""
    try:
        return _ENVIRONMENT.from_string(template)
    except TemplateSyntaxError as error:
        raise ConfigurationError(f"line {error.lineno}: {error.message}") from error


def variables(template: str) -> frozenset[str]:
    """Return the names of the values that a template asks for: those that it does not set itself."""
    tree = _ENVIRONMENT.parse(template)
    own = {name.name for name in tree.find_all(nodes.Name) if name.ctx != "load"}
    own |= {macro.name for macro in tree.find_all(nodes.Macro)}
    return frozenset(meta.find_undeclared_variables(tree) - own)


def render(template: str, values: Mapping[str, Any]) -> str:
    """Return the command with every value quoted for the shell; nothing is there for one that was not sent.

    ``{{ variable|unquoted }}`` opts out. Raises InvalidUpload for values that the template cannot work with
    and for a NUL character, which no command can carry.
    """
    try:
        text = parse(template).render(values)
        command = shell_quotes.command(concatenated([text]).parts)
    except shell_quotes.Misplaced as error:
        raise InvalidUpload(f"The command cannot be made: its template has a value {error}.") from error
    except Exception as error:  # whatever a template does with values that its author did not think of
        problem = str(error) or type(error).__name__
        raise InvalidUpload(f"The command cannot be made from what was sent: {problem}.") from error
    if "\0" in command:
        raise InvalidUpload("A field has a NUL character; leave it out.")
    return command
