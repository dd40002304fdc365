"""The OpenAPI document."""

from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api.auth import COOKIE, QUERY
from api.openapi.unrolled import unrolled
from flows.configuration.config import Config

_PUBLIC = frozenset({"/api/health"})
_SECURITY_SCHEMES = {
    "HTTPBearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
    "APIKeyQuery": {"type": "apiKey", "in": "query", "name": QUERY},
    "APIKeyCookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}


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
    schema["paths"] = dict(unrolled(schema["paths"], config))
    schema.setdefault("components", {})["securitySchemes"] = _SECURITY_SCHEMES
    security: list[dict[str, list[str]]] = [{name: []} for name in _SECURITY_SCHEMES]
    for path, operations in schema["paths"].items():
        if path not in _PUBLIC:
            for operation in operations.values():
                operation["security"] = security
    return schema
