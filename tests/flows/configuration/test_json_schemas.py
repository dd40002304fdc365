"""Schemas of the configuration are usable, or refused with one sentence."""

import copy
import datetime
import re
import urllib.request
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry

from flows.configuration.json_schemas import about_the_same, has_property, pointed, settled


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/$defs/a"}, "refers to '#/$defs/a', which is not there: correct it"),
        ({"properties": {"a/b": {"$ref": "#a"}}}, "refers in properties.a/b to '#a', which is not there"),
        ({"$ref": "#/properties/a", "properties": {"a": {"$ref": "#/nope"}}}, "refers in properties.a to"),
        ({"$dynamicRef": "#a", "$defs": {"b": {"$dynamicAnchor": "b"}}}, "'#a', which is not there"),
        ({"$ref": "#/prefixItems/1", "prefixItems": [{}]}, "'#/prefixItems/1', which is not there"),
        ({"$ref": "#/$defs/a/b", "$defs": {"a": True}}, "which is not there"),
        ({"$ref": "http://127.0.0.1:9/x"}, "'http://127.0.0.1:9/x', which is not in it and is never fetched"),
        ({"$ref": "http://[x"}, "never fetched"),
        ({"$ref": "file:///etc/passwd"}, "never fetched"),
        ({"$ref": "other.yaml#/a"}, "never fetched"),
        ({"$ref": "https://json-schema.org/draft/2020-12/schema"}, "never fetched"),
        ({"$id": "http://a/b", "$ref": "c"}, "never fetched"),
        ({"$ref": "#/required", "required": ["a"]}, "'#/required', which is no schema: move what is meant"),
        ({"$ref": "#/properties", "properties": {"a": {}}}, "which is no schema"),
        ({"$ref": "#/components/a", "components": {"a": {}}}, "which is no schema"),
        ({"$ref": "#/const", "const": {"type": "string"}}, "which is no schema"),
        ({"$ref": "#"}, "refers to what refers back to it, of the same value, without an end"),
        ({"allOf": [{"$ref": "#/$defs/a"}], "$defs": {"a": {"$ref": "#"}}}, "without an end"),
        ({"$defs": {"a": {"not": {"$ref": "#/$defs/b"}}, "b": {"if": {"$ref": "#/$defs/a"}}}}, "without an"),
        ({"dependentSchemas": {"a/b": {"$ref": "#"}}}, "without an end"),
        ({"$dynamicAnchor": "a", "anyOf": [{"$dynamicRef": "#a"}]}, "without an end"),
        ({"properties": {"a": {"$anchor": "x"}, "b": {"$anchor": "x"}}}, "two parts with the name 'x'"),
        (
            {
                "$dynamicAnchor": "x",
                "items": {"$dynamicRef": "#x"},
                "$defs": {"a": {"$id": "other", "$dynamicAnchor": "x"}},
            },
            "refers in items to 'x', which several parts are: use $ref",
        ),
        ({"properties": {"a": {"type": "x"}}}, "is not a JSON schema: 'x' is not valid"),
        ({"properties": {"a": {"pattern": "("}}}, "is not a JSON schema: '(' is not a 'regex'"),
        ({"properties": {1: {}}}, "has the key '1' in properties, which is no text: put it in quotes"),
        ({"default": {"a": datetime.date(2020, 1, 1)}}, "has '2020-01-01' in default.a, which JSON does not"),
        ({"maximum": float("inf")}, "has 'inf' in maximum, which JSON does not know"),
        (yaml.safe_load("&a {properties: {x: *a}}"), "has itself in it: make it flatter"),
    ],
)
def test_what_cannot_be_used_is_refused(schema: Any, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[object] = []
    monkeypatch.setattr(urllib.request, "urlopen", fetched.append)
    with pytest.raises(ValueError, match=re.escape(said)) as caught:
        settled(schema)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300
    assert not fetched


TREE = {
    "$defs": {
        "tree": {
            "type": "object",
            "properties": {"label": {"type": "string"}, "next": {"$ref": "#/$defs/tree"}},
            "additionalProperties": False,
        }
    },
    "properties": {"v": {"$ref": "#/$defs/tree"}},
}


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        (TREE, {"label": "a", "next": {"next": {}}}, {"next": {"next": {"label": 1}}}),
        ({"type": "object", "properties": {"v": {"$ref": "#/$defs/a"}}, "$defs": {"a": False}}, ..., 1),
        ({"properties": {"v": {"$ref": "#/$defs/a%20b~1c"}}, "$defs": {"a b/c": {"type": "null"}}}, None, 1),
        ({"properties": {"v": {"$ref": "#x"}}, "$defs": {"a": {"$anchor": "x", "type": "null"}}}, None, 1),
        ({"properties": {"v": {"$ref": "#"}, "w": {"type": "null"}}}, {"v": {"w": None}}, {"v": {"w": 1}}),
        (
            {
                "$dynamicAnchor": "node",
                "type": "object",
                "properties": {"v": {"items": {"$dynamicRef": "#node"}}},
            },
            [{"v": []}],
            [1],
        ),
        (
            {
                "$id": "https://example.org/schemas/main",
                "properties": {"v": {"$ref": "size#/$defs/number"}},
                "$defs": {
                    "a": {
                        "$id": "size",
                        "$defs": {
                            "number": {"$ref": "#integer"},
                            "i": {"$anchor": "integer", "type": "integer"},
                        },
                    }
                },
            },
            1,
            "1",
        ),
        (
            {
                "$schema": "http://json-schema.org/draft-07/schema#",
                "definitions": {"a": {"type": "integer"}},
                "properties": {"v": {"$ref": "#/definitions/a", "$dynamicRef": "#/definitions/b"}},
                "allOf": [{"definitions": {}}],
            }
            | {"definitions": {"a": {"type": "integer"}, "b": {"minimum": 3}}},
            3,
            2,
        ),
        (
            yaml.safe_load(
                "{properties: {v: &a {properties: {x: {$ref: '#/$defs/n'}}}, w: *a}, $defs: {n: {type: "
                "'null'}}}"
            ),
            {"x": None},
            {"x": 1},
        ),
        ({"enum": [{"v": {"$ref": "#/no"}}]}, {"$ref": "#/no"}, {}),
    ],
)
def test_references_become_pointers_of_the_same_meaning(schema: Any, good: Any, bad: Any) -> None:
    before = copy.deepcopy(schema)
    found = settled(schema)
    assert schema == before
    original = jsonschema.Draft202012Validator({**schema, "$schema": ""}, registry=Registry())
    for validator in (original, jsonschema.Draft202012Validator(found, registry=Registry())):
        assert good is ... or validator.is_valid({"v": good})
        assert not validator.is_valid({"v": bad})
    text = yaml.safe_dump(found)
    assert not any(name in text for name in ("$id", "$anchor", "$dynamic", "$schema"))
    assert settled(found) == found


def test_a_schema_without_references_stays_as_it_is() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "integer", "default": 1}}, "required": ["a"]}
    assert settled(schema) == schema


def test_what_is_said_of_the_same_value() -> None:
    schema = settled({"$ref": "#/$defs/a", "$defs": {"a": {"anyOf": [{"title": "b"}, True], "title": "a"}}})
    assert [part.get("title") for part in about_the_same(schema, schema)] == [None, "a", "b"]
    assert pointed(schema, "#") is schema
    assert pointed(schema, "#/$defs/a/anyOf/0") == {"title": "b"}


@pytest.mark.parametrize(
    ("schema", "has"),
    [
        ({"properties": {"a": {}}}, True),
        ({"properties": {"b": {}}}, False),
        ({"required": ["a"]}, True),
        ({"allOf": [{"properties": {"a": True}}]}, True),
        ({"oneOf": [{}, {"$ref": "#/$defs/it"}], "$defs": {"it": {"properties": {"a": {}}}}}, True),
        ({"$defs": {"it": {"properties": {"a": {}}}}}, False),
        ({"if": {}, "then": {"properties": {"a": {}}}}, True),
        ({"dependentSchemas": {"b": {"properties": {"a": {}}}}}, True),
        ({"patternProperties": {"^[a-c]$": {}}}, True),
        ({"patternProperties": {"^[b-c]$": {}}}, False),
        ({"additionalProperties": {"type": "string"}}, True),
        ({"additionalProperties": False}, False),
        ({"properties": {"b": {"properties": {"a": {}}}}}, False),
    ],
)
def test_properties(schema: Any, has: bool) -> None:
    assert has_property(settled(schema), "a") is has
