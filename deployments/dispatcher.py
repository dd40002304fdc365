"""The outbox: sees to it that each job gets its one flow run, also when Prefect was away."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client

from deployments.registration.deploy import deployment_id
from flows.configuration.config import Config
from flows.errors import Unavailable, one_line, with_cause
from flows.jobs.job import Job
from flows.jobs.outbox import Outbox
from flows.lifecycle.flow_run import flow_run_name, flow_run_tags, idempotency_key
from flows.prefect_api import unavailable_when_prefect_is_away
from flows.waiting.cancelling import cancel
from flows.waiting.events import happens
from flows.waiting.patience import Delays

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 5.0
"""Seconds between looks for jobs that nobody woke us for."""

BATCH = 50
"""Flow runs made in one call; Prefect takes 100."""

DELAYS = Delays(0.1, longest=5.0)

REFUSED_SECONDS = 60.0
"""Until Prefect is asked again for a flow run that it refused; meanwhile later jobs have their turn."""

_ABOUT_VALUES = {400, 413, 422}


class Dispatcher:
    """Makes flow runs of the jobs in the database that have none.

    Several may work side by side: Prefect makes one flow run per idempotency key, and a job's row keeps the
    first it gets. Those of one that is not needed are left to be begun without.
    """

    def __init__(self, outbox: Outbox, config: Config, is_needed: Callable[[], bool] = lambda: True) -> None:
        self._outbox = outbox
        self._is_needed = is_needed
        # Known before the picker runs, so that the flow run need not be tagged in another call.
        self._only_destination = next(iter(config.destinations)) if len(config.destinations) == 1 else None
        self._woken = asyncio.Event()
        self._client: PrefectClient
        self._deployment: UUID | None = None
        self._refused: dict[int, float] = {}  # when
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        task = asyncio.create_task(self._run(), name="dispatcher")
        self._stack.push_async_callback(cancel, [task])
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._stack.aclose()

    def wake(self) -> None:
        """Look at once for jobs without a flow run."""
        self._woken.set()

    async def _run(self) -> None:
        delays = iter(DELAYS)
        while True:
            try:
                # A new one after each error: one that had a connection goes on trying for a minute by itself.
                async with get_client() as self._client:
                    while True:
                        with unavailable_when_prefect_is_away():
                            await self._dispatch()
                        delays = iter(DELAYS)
                        await happens(self._woken, within=SWEEP_INTERVAL)
            except Exception as error:
                # Whatever it is, jobs must not wait for ever because this loop has ended.
                foreseen = isinstance(error, httpx.HTTPError | OSError | Unavailable)
                delay, trace = next(delays), None if foreseen else error
                text = "Jobs wait for their flow runs; trying again in %.1f s: %s"
                logger.warning(text, delay, with_cause(error), exc_info=trace)
                if foreseen:
                    await self._explain()
            await asyncio.sleep(delay)

    async def _explain(self) -> None:
        try:
            await self._outbox.set_prefect_away()
        except Unavailable:
            pass  # the database is what is away: then nobody can be told
        except Exception:
            logger.exception("Jobs are not told what they wait for")  # nor must they wait for ever

    async def _dispatch(self) -> None:
        self._woken.clear()
        while self._is_needed():
            self._woken.clear()
            jobs = await self._outbox.without_flow_run(limit=BATCH, past=self._refused_now())
            if not jobs:
                return
            created, refused = await self._create(jobs)
            if created:
                await self._outbox.set_flow_run(created)
            if refused:
                await self._outbox.set_refused(refused)
                self._refused |= dict.fromkeys(refused, time.monotonic())

    def _refused_now(self) -> list[int]:
        since = time.monotonic() - REFUSED_SECONDS
        self._refused = {job_id: refused for job_id, refused in self._refused.items() if refused > since}
        return list(self._refused)

    async def _create(self, jobs: Sequence[Job]) -> tuple[dict[int, UUID], list[int]]:
        """Return the flow runs of jobs, and the ids of those of which Prefect wants none."""
        try:
            results = await self._ask(jobs)
        except httpx.HTTPStatusError as error:
            if error.response.status_code not in _ABOUT_VALUES:
                self._deployment = None  # it may have been deleted: look it up anew
                raise
            if len(jobs) > 1:  # one of them is enough
                return await self._create_one_by_one(jobs)
            results = [{"status": "FAILED", "error": str(error)}]
        pairs = list(zip(jobs, results, strict=True))
        for job, result in pairs:
            if result["status"] == "FAILED":
                logger.error("Prefect refuses a flow run for job %s: %s", job.id, one_line(result["error"]))
        created = {
            job.id: UUID(result["flow_run_id"]) for job, result in pairs if result["status"] != "FAILED"
        }
        return created, [job.id for job, result in pairs if result["status"] == "FAILED"]

    async def _create_one_by_one(self, jobs: Sequence[Job]) -> tuple[dict[int, UUID], list[int]]:
        created: dict[int, UUID] = {}
        refused: list[int] = []
        for job in jobs:
            its_flow_run, refused_one = await self._create([job])
            created |= its_flow_run
            refused += refused_one
        return created, refused

    async def _ask(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
        if self._deployment is None:
            self._deployment = await deployment_id(self._client)
        response = await self._client.request(
            "POST",
            "/deployments/{id}/create_flow_run/bulk",  # type: ignore[arg-type]
            path_params={"id": self._deployment},
            json=[self._request(job) for job in jobs],
        )
        results: list[dict[str, Any]] = response.json()["results"]
        return results

    def _request(self, job: Job) -> dict[str, Any]:
        return {
            "name": flow_run_name(job),
            "parameters": {"job_id": job.id},
            "enforce_parameter_schema": False,
            "tags": flow_run_tags(job, self._only_destination),
            "idempotency_key": idempotency_key(job),
        }
