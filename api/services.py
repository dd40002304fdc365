"""What the routes work with; made once per process, by the application's lifespan."""

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Protocol, TypeVar, cast

from fastapi import Depends, Request

from api.interactive.commands import Interactive
from api.tokens.capabilities import Capabilities
from api.tokens.verification import Verifier
from api.values.forms import ApplicationForm
from api.watching import JobWatcher
from deployments.settings import Settings
from flows.configuration.config import Config
from flows.disk.durability import DurableDisk
from flows.disk.places import Place
from flows.jobs.end_requests import EndRequests
from flows.jobs.kept import KeptJobs
from flows.jobs.store import JobStore
from flows.transfers.credentials import TransferKey

T = TypeVar("T")

TRANSFERS_AT_ONCE = 32
"""Outputs of jobs that come in at once; each has a thread all the while."""


class Wakeable(Protocol):
    """Who runs new jobs."""

    def wake(self) -> None:
        """Look for new jobs now."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Services:
    """``disk`` is for calls that wait for the disk, so that none of them ever waits in the event loop.

    ``durable`` is the disk of the jobs' directories. ``transfer_threads`` are for outputs that come in, which
    may take hours, and for nothing else.
    """

    settings: Settings
    config: Config
    forms: Mapping[str, ApplicationForm]
    place: Place
    verifier: Verifier
    capabilities: Capabilities
    store: JobStore
    end_requests: EndRequests
    kept: KeptJobs
    watcher: JobWatcher
    workers: Wakeable
    interactive: Interactive
    disk: ThreadPoolExecutor
    durable: DurableDisk
    transfer_key: TransferKey
    transfer_threads: ThreadPoolExecutor

    async def on_disk(self, function: Callable[..., T], *arguments: object) -> T:
        """Call the function in a thread. It runs to its end even where the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self.disk, function, *arguments)


async def get_services(request: Request) -> Services:
    """Return what the lifespan made."""
    return cast(Services, request.app.state.services)


ServicesDep = Annotated[Services, Depends(get_services)]
