"""What those are told who send wrong values: everything once."""

from typing import Any

import pytest

from api.values.schema import InputSchema
from flows.configuration.json_schemas import settled
from flows.errors import InvalidUpload

SCHEMA = settled(
    {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "count": {"type": "integer", "minimum": 1, "maximum": 10, "multipleOf": 3},
            "name": {"type": "string", "minLength": 2, "pattern": "^[a-z]+$"},
            "mode": {"enum": ["a", "b"]},
            "sizes": {"type": "array", "items": {"type": "number"}},
            "either": {"oneOf": [{"type": "integer"}, {"type": "string", "maxLength": 3}]},
            "deep": {"anyOf": [{"type": "null"}, {"items": {"type": "null"}}]},
            "inner": {"type": "object", "required": ["a", "b"], "properties": {"a": {"$ref": "#/$defs/all"}}},
        },
        "required": ["count", "name"],
        "allOf": [{"required": ["name", "count"]}],
        "if": {"required": ["mode"], "properties": {"mode": {"const": "a"}}},
        "then": {"required": ["sizes"]},
        "$defs": {"all": {"allOf": [{"type": "integer"}, {"type": "integer"}]}},
    }
)
GOOD = {"count": 3, "name": "ab"}


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "Fields count and name are missing."),
        ({"mode": "a"}, "Fields count, name and sizes are missing."),
        ({"count": 3}, "Field name is missing."),
        ({**GOOD, "inner": {}}, "Fields inner.a and inner.b are missing."),
        ({**GOOD, "x": 1}, "Field x is not known."),
        ({**GOOD, "\ud800\n": 1}, "Field \\ud800\\n is not known."),
        ({**GOOD, "x" * 1000: 1}, f"Field {'x' * 60}… is not known."),
        ({**GOOD, "y": 1, "x": 1}, "Fields x and y are not known."),
        ({**GOOD, **dict.fromkeys("abcdefg")}, "Fields a, b, c, d, e and 2 more are not known."),
        ({**GOOD, "inner": {"a": "x", "b": 1}}, "Field inner.a: 'x' is not of type 'integer'."),
        ({**GOOD, "name": "A"}, "Field name: 'A' is too short and does not match '^[a-z]+$'."),
        (
            {"count": 11, "mode": "c"},
            "Field name is missing; "
            "Field count: 11 is greater than the maximum of 10 and is not a multiple of 3; "
            "Field mode: 'c' is not one of ['a', 'b'].",
        ),
        (
            {**GOOD, "either": "long text"},
            "Field either: 'long text' is not of type 'integer' or is too long.",
        ),
        ({**GOOD, "deep": [1]}, "Field deep: [1] is not valid under any of the given schemas."),
        ({**GOOD, "name": "x" * 1000 + "1"}, f"Field name: '{'x' * 59}… does not match '^[a-z]+$'."),
        (
            {**GOOD, "either": "x" * 1000},
            f"Field either: '{'x' * 59}… is not of type 'integer' or is too long.",
        ),
        (
            {**GOOD, "sizes": ["a"] * 7},
            "; ".join(f"Field sizes.{n}: 'a' is not of type 'number'" for n in range(5))
            + "; 2 more fields are wrong.",
        ),
    ],
)
def test_complaints(values: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidUpload) as caught:
        InputSchema(SCHEMA).completed(values)
    assert str(caught.value) == said
