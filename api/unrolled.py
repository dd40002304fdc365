"""Paths of the OpenAPI document that are there once for each configured application, with what it takes."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from api.submissions import ARCHIVE_TYPES, FORM_TYPE
from flows.archives import FORMATS
from flows.config import Application, Config, InteractiveApplication

_SUBMIT = "/api/application/{application}"
_INTERACTIVE = "/api/job/{jobid}/interactive/{application}"
_JSON_TYPE = "application/json"
_ARCHIVE = {"type": "string", "format": "binary", "description": f"The job's files: {FORMATS}"}


def unrolled(paths: dict[str, Any], config: Config) -> Iterator[tuple[str, Any]]:
    """Yield the paths with their operations; those for any application once for each one."""
    for path, operations in paths.items():
        if path.startswith(_SUBMIT):
            suffix = path.removeprefix(_SUBMIT)
            for name, application in config.applications.items():
                own_path = f"/api/application/{name}{suffix}"
                yield own_path, {"put": _submission(operations["put"], own_path, name, application, suffix)}
        elif path == _INTERACTIVE:
            for name, interactive in config.interactive_applications.items():
                own_path = f"/api/job/{{jobid}}/interactive/{name}"
                yield own_path, {"post": _interactive(operations["post"], own_path, name, interactive)}
        else:
            yield path, operations


def _submission(
    common: dict[str, Any], path: str, name: str, application: Application, suffix: str
) -> dict[str, Any]:
    operation = _operation(common, name, application)
    operation["operationId"] = f"application_{name}" + suffix.replace("/", "_")
    content = {FORM_TYPE: {"schema": _placed(_form(application), path, "put", FORM_TYPE)}}
    if suffix:
        content |= {media_type: {"schema": _ARCHIVE} for media_type in ARCHIVE_TYPES}
    operation["requestBody"] = {"required": True, "content": content}
    return operation


def _interactive(
    common: dict[str, Any], path: str, name: str, application: InteractiveApplication
) -> dict[str, Any]:
    operation = _operation(common, name, application)
    operation["operationId"] = f"interactive_application_{name}"
    schema = _placed(application.input_schema, path, "post", _JSON_TYPE)
    operation["requestBody"] = {"required": True, "content": {_JSON_TYPE: {"schema": schema}}}
    return operation


def _operation(
    common: dict[str, Any], name: str, application: Application | InteractiveApplication
) -> dict[str, Any]:
    operation = copy.deepcopy(common)
    operation["parameters"] = [p for p in operation.get("parameters", []) if p["name"] != "application"]
    operation["summary"] = application.summary or name
    operation["description"] = application.description or common["description"]
    return operation


def _form(application: Application) -> dict[str, Any]:
    schema = copy.deepcopy(application.input_schema or {"type": "object"})
    schema["properties"] = {"upload": _ARCHIVE, **schema.get("properties", {})}
    schema["required"] = ["upload", *schema.get("required", [])]
    return schema


def _placed(schema: dict[str, Any], path: str, method: str, media_type: str) -> Any:
    place = ["paths", path, method, "requestBody", "content", media_type, "schema"]
    return _moved(schema, _pointer(place))


def _pointer(place: Iterable[str]) -> str:
    return "#/" + "/".join(quote(part.replace("~", "~0").replace("/", "~1"), safe="~$") for part in place)


def _moved(value: Any, root: str) -> Any:
    """Return the schema with references to its own root leading to where it is in the document."""
    if isinstance(value, list):
        return [_moved(item, root) for item in value]
    if not isinstance(value, dict):
        return value
    moved = {key: _moved(item, root) for key, item in value.items()}
    reference = moved.get("$ref")
    if isinstance(reference, str) and reference.startswith("#"):
        moved["$ref"] = root + reference.removeprefix("#")
    return moved
