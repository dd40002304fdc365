"""The OpenAPI document: one path for each configured application, with the fields that it takes."""

import copy
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth import COOKIE, QUERY
from api.submissions import ARCHIVE_TYPES, FORM_TYPE
from flows.archives import FORMATS
from flows.config import Application, Config

_SUBMIT = "/api/application/{application}"
_PUBLIC = frozenset({"/api/health"})
_SECURITY_SCHEMES = {
    "HTTPBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "APIKeyQuery": {"type": "apiKey", "in": "query", "name": QUERY},
    "APIKeyCookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}
_ARCHIVE = {"type": "string", "format": "binary", "description": f"The job's files: {FORMATS}"}


def install(app: FastAPI, config: Config) -> None:
    """Make the application serve the document of this configuration; built when it is first asked for."""

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = document(app, config)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way


def document(app: FastAPI, config: Config) -> dict[str, Any]:
    """Return the OpenAPI document."""
    schema = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
    schema["paths"] = dict(_unrolled(schema["paths"], config))
    schema.setdefault("components", {})["securitySchemes"] = _SECURITY_SCHEMES
    security: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY_SCHEMES]
    for path, operations in schema["paths"].items():
        if path not in _PUBLIC:
            for operation in operations.values():
                operation["security"] = security
    return schema


def _unrolled(paths: dict[str, Any], config: Config) -> Iterator[tuple[str, Any]]:
    for path, operations in paths.items():
        if not path.startswith(_SUBMIT):
            yield path, operations
            continue
        suffix = path.removeprefix(_SUBMIT)
        for name, application in config.applications.items():
            own_path = f"/api/application/{name}{suffix}"
            place = ["paths", own_path, "put", "requestBody", "content", FORM_TYPE, "schema"]
            form = _moved(_form(application), _pointer(place))
            yield own_path, {"put": _operation(operations["put"], name, application, form, suffix)}


def _operation(
    common: dict[str, Any], name: str, application: Application, form: dict[str, Any], suffix: str
) -> dict[str, Any]:
    operation = copy.deepcopy(common)
    operation["parameters"] = [p for p in operation.get("parameters", []) if p["name"] != "application"]
    operation["operationId"] = f"application_{name}" + suffix.replace("/", "_")
    operation["summary"] = application.summary or name
    operation["description"] = application.description or common["description"]
    content = {FORM_TYPE: {"schema": form}}
    if suffix:
        content |= {media_type: {"schema": _ARCHIVE} for media_type in ARCHIVE_TYPES}
    operation["requestBody"] = {"required": True, "content": content}
    return operation


def _form(application: Application) -> dict[str, Any]:
    schema = copy.deepcopy(application.input_schema or {"type": "object"})
    schema["properties"] = {"upload": _ARCHIVE, **schema.get("properties", {})}
    schema["required"] = ["upload", *schema.get("required", [])]
    return schema


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
