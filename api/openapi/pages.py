"""The pages that show the OpenAPI document, whole without internet: all that they load comes from here."""

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.staticfiles import StaticFiles
from starlette.responses import HTMLResponse

from api.http.prefix import below

_STATIC = "/api/docs/static"
# Both pages have a script and styles in themselves; Redoc's search is a worker made of text.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self' data:; worker-src blob:; frame-ancestors 'none'; base-uri 'none'"
)
_WITHOUT_VALIDATOR = {"validatorUrl": None}  # Swagger would send it the address of our document


def install(app: FastAPI) -> None:
    """Add the pages; ``openapi_url`` of the application is where their document is."""
    app.mount(_STATIC, StaticFiles(packages=[("fastapi_offline", "static")]), name="docs-static")

    async def swagger(request: Request) -> HTMLResponse:
        static = below(request, _STATIC)
        return _guarded(
            get_swagger_ui_html(
                title=f"{app.title} - Swagger UI",
                openapi_url=below(request, str(app.openapi_url)),
                swagger_js_url=f"{static}/swagger-ui-bundle.js",
                swagger_css_url=f"{static}/swagger-ui.css",
                swagger_favicon_url=f"{static}/favicon.png",
                swagger_ui_parameters=_WITHOUT_VALIDATOR,
            )
        )

    async def redoc(request: Request) -> HTMLResponse:
        static = below(request, _STATIC)
        return _guarded(
            get_redoc_html(
                title=f"{app.title} - ReDoc",
                openapi_url=below(request, str(app.openapi_url)),
                redoc_js_url=f"{static}/redoc.standalone.js",
                redoc_favicon_url=f"{static}/favicon.png",
                with_google_fonts=False,
            )
        )

    app.add_route("/api/docs", swagger, include_in_schema=False)
    app.add_route("/api/redoc", redoc, include_in_schema=False)


def _guarded(page: HTMLResponse) -> HTMLResponse:
    page.headers["Content-Security-Policy"] = _POLICY
    return page
