"""What each error answers: one table from the classes of ``flows.errors`` to HTTP, for all routes."""

import logging
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.routing import Match

from api.access_log import hide
from api.auth import ForeignPage, TokenMissing
from api.http.bodies import UploadStalled, UploadTooLarge
from api.http.rate_limits import rate_limits
from api.http.storage import StorageFull
from api.interactive.command import CommandGoesOn, CommandTooSlow
from api.interactive.commands import NotForThisJob
from api.interactive.kept import CommandLost
from api.submission.submit import KeyReused
from api.tokens.capabilities import CapabilityInvalid
from api.tokens.verification import TokenInvalid
from api.watching import TooManyOfUser
from flows.errors import (
    BartenderError,
    InvalidUpload,
    JobEnded,
    JobNotCompleted,
    JobNotFound,
    NotAllowed,
    TooManyPins,
    Unavailable,
    UnknownApplication,
    with_cause,
)
from flows.jobs.quotas import BytesExceeded, QuotaExceeded
from flows.transfers.arrivals import OffsetWrong
from flows.transfers.credentials import CredentialInvalid
from flows.transfers.offers import GivenToAnother, TransferOver
from flows.transfers.sent_tar import TooMuchSent

logger = logging.getLogger(__name__)

STATUS: dict[type[BartenderError], int] = {
    TokenMissing: 403,
    TokenInvalid: 401,
    NotAllowed: 403,
    ForeignPage: 403,
    CapabilityInvalid: 403,
    CredentialInvalid: 401,
    JobNotFound: 404,
    JobEnded: 409,
    TooManyPins: 409,
    GivenToAnother: 409,
    CommandLost: 410,
    TransferOver: 410,
    UploadStalled: 408,
    UploadTooLarge: 413,
    TooMuchSent: 413,
    OffsetWrong: 416,
    UnknownApplication: 422,
    InvalidUpload: 422,
    KeyReused: 422,
    NotForThisJob: 422,
    JobNotCompleted: 425,
    TooManyOfUser: 429,
    Unavailable: 503,
    CommandTooSlow: 504,
    StorageFull: 507,
}
_QUOTAS: dict[type[QuotaExceeded], int] = {QuotaExceeded: 429, BytesExceeded: 507}
_METHODS = ("DELETE", "GET", "HEAD", "PATCH", "POST", "PUT")
_HEADERS = {
    401: {"WWW-Authenticate": "Bearer"},
    429: {"Retry-After": "5"},
    503: {"Retry-After": "5"},
    507: {"Retry-After": "60"},
}


def install(app: FastAPI) -> None:
    """Let the application answer errors with ``{"detail": "one sentence"}``."""
    for error, status in STATUS.items():
        app.add_exception_handler(error, _answer(status))
    for exceeded, status in _QUOTAS.items():
        app.add_exception_handler(exceeded, _of_quota(status))
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid_request)
    app.add_exception_handler(ClientDisconnect, _disconnected)
    app.add_exception_handler(Exception, _unexpected)


def _answer(status: int) -> Any:
    async def handler(request: Request, error: Exception) -> Response:
        if status >= 500:
            # No traceback: it is no mistake of ours, and comes with every request until it has passed.
            logger.warning("%s %s: %s", request.method, hide(request.url.path), with_cause(error))
        headers = dict(_HEADERS.get(status, {}))
        if isinstance(error, CommandGoesOn):
            headers["Location"] = error.location
        return JSONResponse({"detail": str(error)}, status, headers)

    return handler


def _of_quota(status: int) -> Any:
    async def handler(_request: Request, error: Exception) -> Response:
        assert isinstance(error, QuotaExceeded)  # noqa: S101 - what it is registered for
        headers = rate_limits(error.quota, error.use)
        if error.retry_after is not None:
            headers["Retry-After"] = str(error.retry_after)
        return JSONResponse({"detail": str(error)}, status, headers)

    return handler


async def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - what it is registered for
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(_allowed(request))
    elif error.status_code == 400:  # FastAPI's own, of JSON that is not UTF-8
        return JSONResponse({"detail": "The body cannot be read; send JSON in UTF-8."}, 422)
    return JSONResponse({"detail": error.detail}, error.status_code, headers)


def _allowed(request: Request) -> list[str]:
    """Return what the path can be asked with: Starlette tells what the first of its routes takes."""
    return [
        method
        for method in _METHODS
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    ]


async def _invalid_request(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)  # noqa: S101 - what it is registered for
    return JSONResponse({"detail": "; ".join(_describe(part) for part in error.errors()) + "."}, 422)


def _describe(details: Any) -> str:
    # The first part of the place is "path", "query" or "body". What was sent is left out.
    place = ".".join(str(part) for part in details["loc"][1:]) or "The body"
    return f"{place}: {details['msg']}"


async def _disconnected(_request: Request, _error: Exception) -> Response:
    return Response(status_code=400)  # nobody reads it


async def _unexpected(_request: Request, _error: Exception) -> Response:
    # Starlette raises the error again once this is sent: the server logs it and closes the connection.
    detail = "Something went wrong here that is not your fault; it was written down."
    return JSONResponse({"detail": detail}, 500, {"Connection": "close"})
