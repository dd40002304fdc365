"""An application's ``input_schema``: whether values are as it says, and the command that they make."""

import copy
from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

from api.values.complaints import complaint
from flows.configuration import command_templates
from flows.errors import InvalidUpload

if TYPE_CHECKING:
    import jsonschema

_ERRORS_LOOKED_AT = 100  # there may be one for each value


class InputSchema:
    """The schema of the values for a command."""

    def __init__(self, schema: dict[str, Any]) -> None:
        self.schema = schema

    @cached_property
    def validator(self) -> "jsonschema.Draft202012Validator":
        """What knows whether values are as the schema says."""
        import jsonschema  # many configurations have no schemas
        from referencing import Registry

        # An empty registry: a reference to a URL in the schema is never fetched.
        return jsonschema.Draft202012Validator(self.schema, registry=Registry())

    def completed(self, values: dict[str, Any]) -> dict[str, Any]:
        """Return the values with the schema's defaults; raise InvalidUpload naming those that are wrong."""
        _fill_in(self.schema, values)
        if not self.schema:
            return values
        found = islice(self.validator.iter_errors(values), _ERRORS_LOOKED_AT)
        try:
            errors = sorted(found, key=lambda error: error.json_path)
        except RecursionError as error:
            raise InvalidUpload("The values are too deep in each other; send flatter ones.") from error
        if errors:
            raise InvalidUpload(complaint(errors))
        return values


def _fill_in(schema: Mapping[str, Any], values: dict[str, Any]) -> None:
    for name, part in schema.get("properties", {}).items():
        if not isinstance(part, dict):
            continue
        if "default" in part:
            values.setdefault(name, copy.deepcopy(part["default"]))
        if isinstance(values.get(name), dict):
            _fill_in(part, values[name])


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """Return the command; raise InvalidUpload for what no command can carry."""
    command = command_templates.render(template, values)
    try:
        command.encode()
    except UnicodeEncodeError as error:  # JSON in a field can hold half of a surrogate pair
        raise InvalidUpload("A field has a character that is not in Unicode; leave it out.") from error
    return command
