"""The web application."""

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from sqlalchemy import URL

from api import access_log, errors
from api.database import open_pool
from api.http.cors import AnsweringOrigins
from api.http.prefix import BelowPrefix
from api.http.stopping import AnswerCancelled
from api.http.unread import CloseUnread
from api.interactive.commands import Interactive
from api.openapi import document, pages
from api.routes import (
    applications,
    destinations,
    events,
    files,
    health,
    interactive,
    jobs,
    output,
    transfers,
    whoami,
)
from api.schemas import Problem
from api.services import TRANSFERS_AT_ONCE, Services, Wakeable
from api.tokens.capabilities import Capabilities
from api.tokens.verification import Verifier
from api.values.forms import ApplicationForm
from api.watching import JobWatcher
from api.workers import Workers
from deployments import loopback
from deployments.settings import Settings
from flows.configuration.config import Config, load
from flows.disk.durability import DurableDisk
from flows.errors import ConfigurationError
from flows.jobs.end_requests import EndRequests
from flows.jobs.kept import KeptJobs
from flows.jobs.outbox import Outbox
from flows.jobs.store import JobStore
from flows.transfers.credentials import TransferKey

_DISK_THREADS = 16
_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The token is bad, forged or expired"},
    403: {"model": Problem, "description": "There is no token, or a role is missing"},
    422: {"model": Problem, "description": "A parameter is not as it has to be"},
    503: {"model": Problem, "description": "The database does not answer now"},
}

OpenWorkers = Callable[[Outbox], AbstractAsyncContextManager[Wakeable]]


def create_app(*, open_workers: OpenWorkers = Workers) -> FastAPI:
    """Return the application for the settings of the environment; a factory for uvicorn.

    Raises ConfigurationError of one line.
    """
    loopback.spare()  # where another ASGI server than ours starts us
    settings = Settings.load()
    config = load(settings.config_filename)
    app = AnsweringOrigins(
        title="Bartender",
        description="Runs command-line applications as jobs.",
        version=version("bartender"),
        docs_url=None,
        redoc_url=None,
        openapi_url="/api/openapi.json",
        redirect_slashes=False,
        lifespan=_lifespan(settings, config, open_workers),
        generate_unique_id_function=lambda route: route.name,
    )
    _add_routes(app)
    errors.install(app)
    document.install(app, config)
    pages.install(app)
    access_log.install()
    app.add_middleware(CloseUnread)
    app.add_middleware(AnswerCancelled)
    app.origins = settings.origins
    if settings.root_path:
        app.add_middleware(BelowPrefix, prefix=settings.root_path)
    return app


def _add_routes(app: FastAPI) -> None:
    app.include_router(_with_head(health.router))
    routers = (
        jobs.router,
        output.router,
        events.router,
        files.router,
        files.shown,
        interactive.router,
        applications.router,
        destinations.router,
        whoami.router,
        transfers.router,
    )
    for router in routers:
        app.include_router(_with_head(router), responses=_REFUSALS)


def _with_head(router: APIRouter) -> APIRouter:
    """Return the routes and a HEAD for every GET: the server leaves the body away."""
    # Not included: FastAPI looks through what is included in the included several times for each request.
    extended = APIRouter(routes=[*router.routes])
    for route in router.routes:
        if isinstance(route, APIRoute) and route.methods == {"GET"}:
            extended.add_api_route(
                route.path,
                route.endpoint,
                methods=["HEAD"],
                response_model=route.response_model,
                response_model_exclude_none=route.response_model_exclude_none,
                response_class=route.response_class,
                include_in_schema=False,
            )
    return extended


def _lifespan(
    settings: Settings, config: Config, open_workers: OpenWorkers
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    url = _database(settings)
    verifier = Verifier.of(settings)
    place = settings.place(config)
    forms = {name: ApplicationForm(application) for name, application in config.applications.items()}

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            disk = ThreadPoolExecutor(_DISK_THREADS, thread_name_prefix="disk")
            stack.push_async_callback(asyncio.to_thread, disk.shutdown)
            transfer_threads = ThreadPoolExecutor(TRANSFERS_AT_ONCE, thread_name_prefix="transfers")
            stack.push_async_callback(asyncio.to_thread, transfer_threads.shutdown)
            pool = open_pool(url, echo=settings.db_echo)
            stack.push_async_callback(pool.close)
            store = JobStore(pool)
            await stack.enter_async_context(verifier.keys.running())
            watcher = JobWatcher(store, most=settings.max_streams, most_of_user=settings.max_streams_per_user)
            await stack.enter_async_context(watcher.running())
            workers = await stack.enter_async_context(open_workers(Outbox(pool)))
            quick = await stack.enter_async_context(Interactive(config, settings, place).running())
            place.upload("any").parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            app.state.services = Services(
                settings=settings,
                config=config,
                forms=forms,
                place=place,
                verifier=verifier,
                capabilities=Capabilities.of(place.capability_key),
                store=store,
                end_requests=EndRequests(pool),
                kept=KeptJobs(pool),
                watcher=watcher,
                workers=workers,
                interactive=quick,
                disk=disk,
                durable=DurableDisk(place.job_root),
                transfer_key=TransferKey.of(place.transfer_key),
                transfer_threads=transfer_threads,
            )
            yield

    return lifespan


def _database(settings: Settings) -> URL:
    url = settings.configured_database()
    if url is None:
        raise ConfigurationError(
            "environment: no database is configured: set BARTENDER_DB_DSN, or start with `bartender serve`, "
            "which brings its own"
        )
    return url
