"""A reverse proxy may offer us below a path of its own."""

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send


def below(request: Request, path: str) -> str:
    """Return the path of ours as whoever sent the request reaches it."""
    return f"{request.scope.get('root_path', '')}{path}"


class BelowPrefix:
    """Lets requests through as of an application below ``prefix``, whether the proxy takes it off or not.

    Whoever asks this machine directly leaves it out, so both have to work.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in {"http", "websocket"}:
            path: str = scope["path"]
            if not path.startswith(f"{self._prefix}/"):
                path = self._prefix + path
            scope = {**scope, "root_path": self._prefix, "path": path}
        await self._app(scope, receive, send)
