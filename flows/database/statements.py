"""Statements of SQLAlchemy's as the driver takes them: text with numbers for values, and these in order."""

from collections.abc import Mapping
from typing import Any, cast
from weakref import WeakKeyDictionary

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import asyncpg
from sqlalchemy.sql.compiler import SQLCompiler

_DIALECT = asyncpg.dialect()  # type: ignore[no-untyped-call]  # as SQLAlchemy has left it


class Compiled:
    """A statement that was put together once, for whatever values."""

    def __init__(self, statement: sa.Executable) -> None:
        compiled = _compile(statement)
        self.text = compiled.string
        self._names = tuple(compiled.positiontup or ())
        given = compiled.construct_params(_check=False)
        self._processors = {}
        for name in self._names:
            if (processor := _processor(compiled, name)) is not None:
                self._processors[name] = processor
        required = {name for name, bind in compiled.binds.items() if bind.required}
        self._given = {
            name: self._processed(name, value) for name, value in given.items() if name not in required
        }

    def arguments(self, values: Mapping[str, Any]) -> list[Any]:
        """Return what the driver is given; KeyError when a value is missing."""
        if not values:
            return [self._given[name] for name in self._names]
        return [
            self._processed(name, values[name]) if name in values else self._given[name]
            for name in self._names
        ]

    def _processed(self, name: str, value: Any) -> Any:
        processor = self._processors.get(name)
        return value if processor is None else processor(value)


def _compile(statement: sa.Executable) -> SQLCompiler:
    element = cast(sa.sql.ClauseElement, statement)
    compiled = cast(SQLCompiler, element.compile(dialect=_DIALECT))
    if compiled.post_compile_params:  # of IN, as many as there are values: all of them have to be there
        again = element.compile(dialect=_DIALECT, compile_kwargs={"render_postcompile": True})
        compiled = cast(SQLCompiler, again)
    return compiled


def _processor(compiled: SQLCompiler, name: str) -> Any:
    bind = compiled.binds.get(name)
    return None if bind is None else bind.type.dialect_impl(_DIALECT).bind_processor(_DIALECT)


_compiled: WeakKeyDictionary[sa.Executable, Compiled] = WeakKeyDictionary()


def compiled(statement: sa.Executable) -> Compiled:
    """Return the statement put together: once for each object, so one that is kept costs that only once."""
    found = _compiled.get(statement)
    if found is None:
        found = _compiled[statement] = Compiled(statement)
    return found
