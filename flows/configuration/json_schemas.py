"""JSON schemas of the configuration, made sure to be usable before anybody uses them.

A reference in a schema can be a pointer, the name of a part (``$anchor``) or an address (``$id``).
``settled`` leaves pointers only, so that nothing else has to know of the other ways. Nothing is ever fetched.
"""

import math
import re
from collections.abc import Iterable, Iterator
from graphlib import CycleError, TopologicalSorter
from typing import Any
from urllib.parse import quote, unquote, urldefrag, urljoin

Schema = dict[str, Any]

_MAX_DEPTH = 64  # what checks schemas needs up to 8 calls in each other for a level; Python allows 1000
_NAMES = ("$anchor", "$dynamicAnchor")
_REFERENCES = ("$ref", "$dynamicRef")


def settled(schema: Schema) -> Schema:
    """Return a copy of the schema in which each reference is a pointer such as ``#/$defs/size``.

    Raises ValueError that says what cannot be used, and where.
    """
    import jsonschema  # many configurations have no schemas

    copy: Schema = _copied(schema, "")
    try:
        jsonschema.Draft202012Validator.check_schema(copy)
    except jsonschema.SchemaError as error:
        raise ValueError(f"is not a JSON schema: {error.message}") from error
    _References(copy).settle()
    return copy


def pointed(root: Schema, reference: str) -> Any:
    """Return the part of a settled schema that one of its references leads to."""
    part: Any = root
    for name in unquote(reference).split("/")[1:]:
        part = part[int(name)] if isinstance(part, list) else part[_unescaped(name)]
    return part


def parts(schema: Schema | bool) -> Iterator[Schema]:
    """Yield a schema and all schemas in it, without following references."""
    if isinstance(schema, dict):
        yield schema
        for part in _parts_of(schema):
            yield from parts(part)


def _parts_of(schema: Schema) -> Iterable[Schema | bool]:
    from referencing.jsonschema import DRAFT202012

    return DRAFT202012.subresources_of(schema)


def about_the_same(schema: Any, root: Schema) -> Iterator[Schema]:
    """Yield a part of a settled schema, and what it says of the same value: references and alternatives."""
    if not isinstance(schema, dict):
        return
    yield schema
    if "$ref" in schema:
        yield from about_the_same(pointed(root, schema["$ref"]), root)
    for keyword in ("allOf", "anyOf", "oneOf"):
        for part in schema.get(keyword, ()):
            yield from about_the_same(part, root)


def has_property(schema: Schema, name: str) -> bool:
    """Return whether a settled schema of an object says anything of a property of that name."""
    for part in _about_the_same_object(schema, schema, set()):
        if name in part.get("properties", {}) or name in part.get("required", ()):
            return True
        if any(re.search(pattern, name) for pattern in part.get("patternProperties", {})):
            return True
        if part.get("additionalProperties", False) is not False:
            return True
    return False


def _about_the_same_object(schema: Any, root: Schema, seen: set[int]) -> Iterator[Schema]:
    if not isinstance(schema, dict) or id(schema) in seen:
        return
    for part in about_the_same(schema, root):
        if id(part) not in seen:
            seen.add(id(part))
            yield part
            conditional = [part.get(keyword) for keyword in ("if", "then", "else")]
            for other in (*conditional, *part.get("dependentSchemas", {}).values()):
                yield from _about_the_same_object(other, root, seen)


def _copied(value: Any, place: str) -> Any:
    """Return what YAML made as JSON has it: what is shared, by YAML's anchors, is there several times."""
    if place.count("/") > _MAX_DEPTH:
        raise ValueError(f"has more than {_MAX_DEPTH} levels, or has itself in it: make it flatter")
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                mistake = f"has the key {_shown(key)}{_at(place)}, which is no text: put it in quotes"
                raise ValueError(mistake)  # noqa: TRY004 - pydantic collects ValueErrors only
        return {key: _copied(part, _below(place, key)) for key, part in value.items()}
    if isinstance(value, list):
        return [_copied(part, _below(place, str(number))) for number, part in enumerate(value)]
    if value is None or isinstance(value, (str, int)) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ValueError(f"has {_shown(value)}{_at(place)}, which JSON does not know: put it in quotes")


class _References:
    """A schema's parts, by their pointers, and what they refer to."""

    def __init__(self, root: Schema) -> None:
        self._values = dict(_everything(root, ""))
        self._pointers = {
            id(value): place for place, value in self._values.items() if isinstance(value, dict)
        }
        self._schemas: dict[str, Schema] = {}
        self._bases: dict[str, str] = {}
        self._addresses = {"": ""}
        self._named: dict[tuple[str, str], str] = {}
        self._add(root, "")

    def _add(self, schema: Schema | bool, base: str) -> None:
        if isinstance(schema, bool):
            return
        place = self._pointers[id(schema)]
        if "$id" in schema:
            base = _joined(base, schema["$id"].rstrip("#"))
            self._addresses[base] = place
        self._schemas[place], self._bases[place] = schema, base
        for name in {schema[keyword] for keyword in _NAMES if keyword in schema}:
            if (base, name) in self._named:
                raise ValueError(f"has two parts with the name {_shown(name)}: rename one of them")
            self._named[base, name] = place
        for part in _parts_of(schema):
            self._add(part, base)

    def settle(self) -> None:
        """Put pointers in place of all references; raise ValueError."""
        targets = {
            (place, keyword): self._target(place, schema[keyword])
            for place, schema in self._schemas.items()
            for keyword in _REFERENCES
            if keyword in schema
        }
        self._check_dynamic()
        self._check_ends(targets)
        for schema in self._schemas.values():
            # All of it is read as the newest version of JSON Schema, whichever it names.
            for keyword in ("$schema", "$id", *_NAMES):
                schema.pop(keyword, None)
        for (place, keyword), target in targets.items():
            _point(self._schemas[place], keyword, target)

    def _target(self, place: str, reference: str) -> str:
        base, refers = self._bases[place], f"refers{_at(place)} to {_shown(reference)}"
        address, _, fragment = (base + reference if reference.startswith("#") else reference).partition("#")
        address, fragment = _joined(base, address), unquote(fragment)
        if address not in self._addresses:
            raise ValueError(f"{refers}, which is not in it and is never fetched: copy that into its $defs")
        if fragment and not fragment.startswith("/"):
            target = self._named.get((address, fragment))
        else:
            target = self._addresses[address] + fragment
        if target is None or target not in self._values:
            raise ValueError(f"{refers}, which is not there: correct it")
        if target not in self._schemas and not isinstance(self._values[target], bool):
            raise ValueError(f"{refers}, which is no schema: move what is meant into its $defs")
        return target

    def _check_dynamic(self) -> None:
        """Refuse what a pointer cannot stand for: a name whose meaning depends on the way that led there."""
        names = [schema.get("$dynamicAnchor") for schema in self._schemas.values()]
        for place, schema in self._schemas.items():
            name = urldefrag(schema.get("$dynamicRef", "")).fragment
            if names.count(name) > 1:
                raise ValueError(f"refers{_at(place)} to {_shown(name)}, which several parts are: use $ref")

    def _check_ends(self, targets: dict[tuple[str, str], str]) -> None:
        """Refuse references that come back to where they are without going deeper into the value."""
        onward = {place: set(self._same_value(place, schema)) for place, schema in self._schemas.items()}
        for (place, _), target in targets.items():
            onward[place].add(target)
        try:
            TopologicalSorter(onward).prepare()
        except CycleError as error:
            round_trip = error.args[1]
            place = next(place for place, _ in targets if place in round_trip)
            raise ValueError(
                f"refers{_at(place)} to what refers back to it, of the same value, without an end: correct it"
            ) from error

    def _same_value(self, place: str, schema: Schema) -> Iterator[str]:
        for keyword in ("not", "if", "then", "else"):
            if keyword in schema:
                yield _below(place, keyword)
        for keyword in ("allOf", "anyOf", "oneOf"):
            for number in range(len(schema.get(keyword, ()))):
                yield _below(_below(place, keyword), str(number))
        for name in schema.get("dependentSchemas", ()):
            yield _below(_below(place, "dependentSchemas"), name)


def _joined(base: str, address: str) -> str:
    try:
        return urljoin(base, address)
    except ValueError:  # no URL at all: nothing will have it
        return address


def _point(schema: Schema, keyword: str, target: str) -> None:
    reference = "#" + quote(target, safe="/~$")
    if keyword == "$dynamicRef":
        del schema[keyword]
    if keyword == "$dynamicRef" and "$ref" in schema:
        schema["allOf"] = [*schema.get("allOf", ()), {"$ref": reference}]
    else:
        schema["$ref"] = reference


def _everything(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    yield place, value
    if isinstance(value, dict):
        for key, part in value.items():
            yield from _everything(part, _below(place, key))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _everything(part, _below(place, str(number)))


def _below(place: str, key: str) -> str:
    return place + "/" + key.replace("~", "~0").replace("/", "~1")


def _unescaped(key: str) -> str:
    return key.replace("~1", "/").replace("~0", "~")


def _at(place: str) -> str:
    return " in " + ".".join(map(_unescaped, place[1:].split("/"))) if place else ""


def _shown(value: object) -> str:
    text = str(value)
    return repr(text if len(text) <= 100 else f"{text[:100]}…")
