"""What browsers show of a job's files, and where: what a command wrote never runs in the visitor's name.

A page on our origin could read and delete all that its visitor may, by the cookie. So whatever browsers
would run is shown under another path, without the cookie, with a policy that gives it an origin of its own.
All that a report is made of is read there too, as nothing in it has the cookie.
"""

from urllib.parse import quote

from starlette.requests import Request

from api.http.prefix import below

VIEW = "/api/view"

OPAQUE = {
    # Opaque to us and to other jobs: without allow-same-origin. What it loads and sends stays with this host.
    "Content-Security-Policy": "sandbox allow-scripts allow-downloads allow-popups; "
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:",
    "Referrer-Policy": "no-referrer",
}
"""Headers of what may run and is sent as it is. Who opens it by ``?token=`` may have a cookie, too, and the
token may be that of somebody who sent them the address."""

# Its own modules, fonts and fetches come from the origin "null".
SANDBOX = OPAQUE | {"Access-Control-Allow-Origin": "*"}
"""Headers of each answer there. Not X-Frame-Options, frame-ancestors or Cross-Origin-Resource-Policy: with
these a report's own frames, scripts and pictures stay blank."""

_INERT = frozenset(
    {
        "application/gzip",
        "application/json",
        "application/octet-stream",
        "application/pdf",
        "application/x-bzip2",
        "application/x-tar",
        "application/x-xz",
        "application/zip",
        "text/css",
        "text/csv",
        "text/javascript",
        "text/plain",
        "text/tab-separated-values",
    }
)
_INERT_KINDS = ("audio/", "font/", "image/", "video/")


def may_run(media_type: str) -> bool:
    """Whether a browser might run what is in a document of this type; unknown ones might."""
    kind = media_type.partition(";")[0].strip().lower()
    if kind in _INERT:
        return False
    return not kind.startswith(_INERT_KINDS) or kind.endswith("xml")


def address(request: Request, capability: str, path: str) -> str:
    """Return where a browser is sent for a file of the job that the capability is for."""
    query = f"?{request.url.query}" if request.url.query else ""
    return below(request, f"{VIEW}/{capability}/{quote(path)}{query}")
