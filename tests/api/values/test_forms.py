"""Text fields to values."""

from typing import Any

import pytest

from api.values.forms import ApplicationForm, from_text
from flows.configuration.config import Application
from flows.errors import InvalidUpload

MAYBE_INTEGER = {"anyOf": [{"type": "integer"}, {"type": "null"}]}


@pytest.mark.parametrize(
    ("text", "schema", "value"),
    [
        ("12", {"type": "integer"}, 12),
        ("-12", {"type": "integer"}, -12),
        ("007", {"type": "integer"}, 7),
        ("1.5", {"type": "integer"}, "1.5"),
        ("1_000", {"type": "integer"}, "1_000"),
        (" 1", {"type": "integer"}, " 1"),
        ("١٢", {"type": "integer"}, "١٢"),
        ("9" * 5000, {"type": "integer"}, "9" * 5000),
        ("1.5", {"type": "number"}, 1.5),
        ("1e3", {"type": "number"}, 1000.0),
        ("12", {"type": "number"}, 12),
        (".5", {"type": "number"}, 0.5),
        ("nan", {"type": "number"}, "nan"),
        ("inf", {"type": "number"}, "inf"),
        ("1e999", {"type": "number"}, "1e999"),
        ("true", {"type": "boolean"}, True),
        ("False", {"type": "boolean"}, False),
        ("1", {"type": "boolean"}, True),
        ("off", {"type": "boolean"}, False),
        ("maybe", {"type": "boolean"}, "maybe"),
        ("12", {"type": "string"}, "12"),
        ("12", {}, "12"),
        ("12", True, "12"),
        ("1", {"type": ["integer", "string"]}, 1),
        ("one", {"type": ["integer", "string"]}, "one"),
        ("1", {"type": ["boolean", "integer"]}, 1),
        ("null", MAYBE_INTEGER, None),
        ("4", MAYBE_INTEGER, 4),
        ("[1, 2]", {"type": "array"}, [1, 2]),
        ("3", {"type": "array", "items": {"type": "integer"}}, [3]),
        ('{"a": 1}', {"type": "object"}, {"a": 1}),
        ("[1]", {"type": "object"}, "[1]"),
        ("[" * 100_000, {"type": "object"}, "[" * 100_000),
    ],
)
def test_from_text(text: str, schema: Any, value: Any) -> None:
    converted = from_text(text, schema, {})
    assert converted == value
    assert type(converted) is type(value)


def form(template: str = "true", **properties: Any) -> ApplicationForm:
    schema = {"type": "object", "properties": properties}
    return ApplicationForm(Application(command_template=template, input_schema=schema))


def test_defaults_are_not_shared() -> None:
    shared = form(names={"type": "array", "default": []})
    shared.values([])["names"].append("x")
    assert shared.values([]) == {"names": []}


def test_defaults_of_an_object_that_was_sent() -> None:
    inner = {"type": "object", "properties": {"a": {"default": 1}, "b": {"default": 2}}}
    assert form(n=inner).values([("n", '{"a": 3}')]) == {"n": {"a": 3, "b": 2}}
    assert form(n=inner).values([]) == {}


def test_defaults_are_validated_too() -> None:
    with pytest.raises(InvalidUpload, match="count"):
        form(count={"type": "integer", "default": "none"}).values([])


def test_repeated_fields_make_an_array() -> None:
    fields = [("n", "1"), ("n", "2")]
    assert form(n={"type": "array", "items": {"type": "integer"}}).values(fields) == {"n": [1, 2]}


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidUpload, match="Unicode"):
        form("echo {{ n.a }}", n={"type": "object"}).command([("n", '{"a": "\\ud800"}')])


LISTS = {"type": "array", "items": {"$ref": "#/$defs/lists"}}
NODE = {"type": "object", "properties": {"next": {"$ref": "#/$defs/node"}}, "additionalProperties": False}


def form_of(schema: Any) -> ApplicationForm:
    defs = {
        "size": {"$ref": "#/$defs/number"},
        "number": {"type": "integer", "maximum": 9},
        "sizes": {"type": "array", "items": {"$ref": "#/$defs/size"}},
        "lists": LISTS,
        "node": NODE,
        "any": True,
    }
    whole = {"type": "object", "properties": {"n": schema}, "$defs": defs}
    return ApplicationForm(Application(command_template="echo {{ n }}", input_schema=whole))


@pytest.mark.parametrize(
    ("schema", "texts", "value"),
    [
        ({"$ref": "#/$defs/size"}, ["7"], 7),
        ({"anyOf": [{"$ref": "#/$defs/size"}, {"type": "null"}]}, ["null"], None),
        ({"$ref": "#/$defs/sizes"}, ["7"], [7]),
        ({"$ref": "#/$defs/sizes"}, ["7", "8"], [7, 8]),
        ({"$ref": "#/$defs/any"}, ["7"], "7"),
        ({"$ref": "#/$defs/lists"}, ["[[], [[]]]"], [[], [[]]]),
        ({"$ref": "#/$defs/node"}, ['{"next": {"next": {}}}'], {"next": {"next": {}}}),
    ],
)
def test_types_that_are_referred_to(schema: Any, texts: list[str], value: Any) -> None:
    assert form_of(schema).values([("n", text) for text in texts]) == {"n": value}


@pytest.mark.parametrize(
    ("reference", "text", "said"),
    [
        ("size", "10", "Field n: 10 is greater than the maximum of 9"),
        ("lists", "x", "Field n.0: 'x' is not of type 'array'"),
        ("lists", "[" * 600 + "]" * 600, "too deep"),
        ("node", '{"next": ' * 600 + "{}" + "}" * 600, "too deep"),
    ],
)
def test_what_is_referred_to_is_demanded(reference: str, text: str, said: str) -> None:
    with pytest.raises(InvalidUpload, match=said):
        form_of({"$ref": f"#/$defs/{reference}"}).command([("n", text)])


def test_long_values_make_short_messages() -> None:
    with pytest.raises(InvalidUpload) as caught:
        form(n={"type": "integer"}).values([("n", "x" * 100_000)])
    assert len(str(caught.value)) < 400


def test_without_schema_fields_are_text() -> None:
    form = ApplicationForm(Application(command_template="echo {{ n }}"))
    assert form.command([("n", "1 2")]) == "echo '1 2'"
    assert form.command([]) == "echo "
