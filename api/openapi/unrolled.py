"""Paths of the OpenAPI document that are there once for each configured application, with what it takes."""

import copy
import itertools
from collections.abc import Container, Iterable, Iterator
from typing import Any
from urllib.parse import quote

from api.submission.body import ARCHIVE_TYPES
from api.submission.multipart import FORM_TYPE
from flows.archives import FORMATS
from flows.configuration.config import Application, Config, InteractiveApplication
from flows.configuration.json_schemas import parts

_SUBMIT = "/api/application/{application}"
_INTERACTIVE = "/api/job/{jobid}/interactive/{application}"
_JSON_TYPE = "application/json"


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
    operation = _operation(common, application)
    operation["operationId"] = f"application_{name}" + suffix.replace("/", "_")
    operation["summary"] = application.summary or f"Upload job to {name}"
    archive = _archive(application)
    schema = _placed(_form(application, archive), path, "put", FORM_TYPE)
    encoding = {"upload": {"contentType": ", ".join(ARCHIVE_TYPES)}}
    content: dict[str, Any] = {FORM_TYPE: {"schema": schema, "encoding": encoding}}
    if suffix:
        content |= {media_type: {"schema": archive} for media_type in ARCHIVE_TYPES}
    operation["requestBody"] = {"required": True, "content": content}
    return operation


def _interactive(
    common: dict[str, Any], path: str, name: str, application: InteractiveApplication
) -> dict[str, Any]:
    operation = _operation(common, application)
    operation["operationId"] = f"interactive_application_{name}"
    operation["summary"] = application.summary or name
    schema = _placed(application.input_schema, path, "post", _JSON_TYPE)
    operation["requestBody"] = {"required": True, "content": {_JSON_TYPE: {"schema": schema}}}
    return operation


def _operation(common: dict[str, Any], application: Application | InteractiveApplication) -> dict[str, Any]:
    operation = copy.deepcopy(common)
    operation["parameters"] = [p for p in operation.get("parameters", []) if p["name"] != "application"]
    operation["description"] = application.description or common["description"]
    return operation


def _archive(application: Application) -> dict[str, Any]:
    description = f"The job's files: {FORMATS}"
    if application.upload_needs:
        description += f". It has to hold {', '.join(f'`{need}`' for need in application.upload_needs)}"
    return {"type": "string", "format": "binary", "description": description}


def _form(application: Application, archive: dict[str, Any]) -> dict[str, Any]:
    fields = application.input_schema or {"type": "object"}
    # The form has the archive, too; what refers to the whole of the fields means them without it.
    if any(part.get("$ref") == "#" for part in parts(fields)):
        fields = copy.deepcopy(fields)
        name = _free_name(fields.setdefault("$defs", {}))
        for part in parts(fields):
            if part.get("$ref") == "#":
                part["$ref"] = f"#/$defs/{name}"
        fields["$defs"][name] = copy.deepcopy({k: v for k, v in fields.items() if k != "$defs"})
    return {
        **fields,
        "properties": {"upload": archive, **fields.get("properties", {})},
        "required": ["upload", *fields.get("required", [])],
    }


def _free_name(taken: Container[str]) -> str:
    return next(name for number in itertools.count(1) if (name := f"fields{number}") not in taken)


def _placed(schema: dict[str, Any], path: str, method: str, media_type: str) -> Any:
    """Return a copy whose references lead to where it is in the document."""
    root = _pointer(["paths", path, method, "requestBody", "content", media_type, "schema"])
    placed = copy.deepcopy(schema)
    for part in parts(placed):
        if "$ref" in part:
            part["$ref"] = root + part["$ref"].removeprefix("#")
    return placed


def _pointer(place: Iterable[str]) -> str:
    return "#/" + "/".join(quote(part.replace("~", "~0").replace("/", "~1"), safe="~$") for part in place)
