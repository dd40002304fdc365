"""Web applications of other origins, whose scripts browsers let ask us only where we say so (CORS)."""

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE")
ANSWER_HEADERS = (
    "Accept-Ranges",
    "Content-Disposition",
    "Content-Length",
    "Content-Range",
    "ETag",
    "Location",
    "Preference-Applied",
    "Retry-After",
    "X-Total-Count",
)
"""What scripts may read besides what they always may."""


class AnsweringOrigins(FastAPI):
    """Lets scripts of the origins read all answers, also that to a mistake of ours, which is made last."""

    origins: tuple[str, ...] = ()

    def build_middleware_stack(self) -> ASGIApp:
        stack = super().build_middleware_stack()
        if not self.origins:
            return stack
        named = "*" not in self.origins
        return CORSMiddleware(
            stack,
            allow_origins=self.origins,
            allow_methods=METHODS,
            allow_headers=["*"],  # what scripts add for their own tracing must not stop them
            expose_headers=ANSWER_HEADERS,
            # Else anybody's page could act for a visitor who has the cookie, or look into a closed network.
            allow_credentials=named,
            allow_private_network=named,
        )
