"""The outbox: sees to it that each job gets its one flow run, also when Prefect was away."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any, Self
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound

from deployments.registration.deploy import deployment_id
from flows.configuration.config import Config
from flows.errors import Unavailable, with_cause
from flows.jobs.job import Job
from flows.jobs.outbox import Outbox
from flows.lifecycle.flow_run import flow_run_name, flow_run_tags, idempotency_key
from flows.waiting.cancelling import cancel

logger = logging.getLogger(__name__)

SWEEP_INTERVAL = 5.0
"""Seconds between looks for jobs that nobody woke us for, such as those another process accepted."""

BATCH = 50
"""Flow runs made in one call; Prefect takes 100."""

MAX_DELAY = 5.0


class Dispatcher:
    """Makes flow runs of the jobs in the database that have none.

    Several may work side by side: Prefect makes one flow run per idempotency key, and a job's row keeps the
    first it gets.
    """

    def __init__(self, outbox: Outbox, config: Config) -> None:
        self._outbox = outbox
        # Known before the picker runs, so that the flow run need not be tagged in another call.
        self._only_destination = next(iter(config.destinations)) if len(config.destinations) == 1 else None
        self._woken = asyncio.Event()
        self._client: PrefectClient
        self._deployment: UUID | None = None
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
        delay = 0.1
        while True:
            try:
                async with get_client() as self._client:
                    while True:
                        await self._dispatch()
                        delay = 0.1
                        await self._wait()
            except (httpx.HTTPError, OSError, Unavailable) as error:
                cause = with_cause(error)
                logger.warning("Jobs wait for their flow runs; trying again in %.1f s: %s", delay, cause)
            except Exception:
                # Whatever it is, jobs must not wait for ever because this loop has ended.
                logger.exception("Jobs wait for their flow runs. Trying again in %.1f s.", delay)
            await asyncio.sleep(delay)
            delay = min(2 * delay, MAX_DELAY)

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(SWEEP_INTERVAL):
                await self._woken.wait()
        except TimeoutError:
            pass

    async def _dispatch(self) -> None:
        while True:
            self._woken.clear()
            jobs = await self._outbox.without_flow_run(limit=BATCH)
            if not jobs:
                return
            created = await self._create(jobs)
            await self._outbox.set_flow_run(created)
            if len(created) < len(jobs):
                return  # the others are tried again at the next sweep, not at full speed

    async def _create(self, jobs: list[Job]) -> dict[int, UUID]:
        if self._deployment is None:
            self._deployment = await deployment_id(self._client)
        try:
            response = await self._client.request(
                "POST",
                "/deployments/{id}/create_flow_run/bulk",  # type: ignore[arg-type]
                path_params={"id": self._deployment},
                json=[self._request(job) for job in jobs],
            )
        except (httpx.HTTPStatusError, ObjectNotFound):
            self._deployment = None  # it may have been deleted: look it up anew
            raise
        results = response.json()["results"]
        for job, result in zip(jobs, results, strict=True):
            if result["status"] == "FAILED":
                logger.error("Prefect refuses a flow run for job %s: %s", job.id, result["error"])
        return {
            job.id: UUID(result["flow_run_id"])
            for job, result in zip(jobs, results, strict=True)
            if result["status"] != "FAILED"
        }

    def _request(self, job: Job) -> dict[str, Any]:
        return {
            "name": flow_run_name(job),
            "parameters": {"job_id": job.id},
            "enforce_parameter_schema": False,
            "tags": flow_run_tags(job, self._only_destination),
            "idempotency_key": idempotency_key(job),
        }
