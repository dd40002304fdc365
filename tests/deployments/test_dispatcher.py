"""Jobs that get their flow runs, by a real Prefect server, and such as it refuses."""

import socket
import uuid
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate
from prefect.settings import PREFECT_API_URL, temporary_settings

from deployments import dispatcher
from deployments.dispatcher import Dispatcher
from flows.configuration.config import Config
from flows.database.pool import Pool
from flows.jobs.job import Job
from flows.jobs.not_begun import PREFECT_AWAY, REFUSED
from flows.jobs.outbox import Outbox
from flows.jobs.store import JobStore
from tests.e2e.service import until

pytestmark = pytest.mark.usefixtures("prefect_server")

CONFIG = Config.model_validate(
    {
        "applications": {"works": {"command_template": "true"}},
        "destinations": {"here": {"scheduler": {"type": "memory"}, "filesystem": {"type": "local"}}},
    }
)
MISSING = "a_variable"


class Demanding(Dispatcher):
    """Asks for what Prefect does not give to jobs of the applications ``one`` and ``all``."""

    def _request(self, job: Job) -> dict[str, Any]:
        request = super()._request(job)
        if job.application == "one":
            variable = {"__prefect_kind": "workspace_variable", "variable_name": MISSING}
            request["parameters"] |= {"variable": variable}
        if job.application == "all":  # that are asked for together with it
            request["name"] = {"not": "a name"}
        return request


async def submit(store: JobStore, application: str) -> int:
    job = await store.create(
        application=application, submitter="me", roles=[], command="true", token=uuid.uuid4()
    )
    return job.id


async def started(store: JobStore, job_id: int) -> bool:
    return (await store.get(job_id)).flow_run_id is not None


@pytest.mark.parametrize("refused", ["one", "all"])
async def test_a_refused_job_says_so_and_lets_later_ones_pass(
    pool: Pool, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    monkeypatch.setattr(dispatcher, "BATCH", 2)
    store = JobStore(pool)
    waiting = [await submit(store, refused) for _ in range(5)]
    later = await submit(store, "works")

    async def say_so() -> bool:
        jobs = [await store.get(job_id) for job_id in waiting]
        return all((job.flow_run_id, job.reason) == (None, REFUSED) for job in jobs)

    async with Demanding(Outbox(pool), CONFIG):
        await until(lambda: started(store, later))
        await until(say_so)
    assert (await store.get(later)).reason is None


async def test_a_refused_job_is_tried_again(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    store = JobStore(pool)
    job_id = await submit(store, "one")

    async def says_so() -> bool:
        return (await store.get(job_id)).reason == REFUSED

    async with Demanding(Outbox(pool), CONFIG) as outbox:
        await until(says_so)
        async with get_client() as client:
            await client.create_variable(VariableCreate(name=MISSING, value="there"))
        monkeypatch.setattr(dispatcher, "REFUSED_SECONDS", 0)
        outbox.wake()
        await until(lambda: started(store, job_id))
    assert (await store.get(job_id)).reason is None


async def test_a_job_says_that_prefect_is_away(pool: Pool) -> None:
    store = JobStore(pool)
    with socket.socket() as closed, temporary_settings({PREFECT_API_URL: _url(closed)}):
        job_id = await submit(store, "works")

        async def says_so() -> bool:
            return (await store.get(job_id)).reason == PREFECT_AWAY

        async with Dispatcher(Outbox(pool), CONFIG):
            await until(says_so)
    async with Dispatcher(Outbox(pool), CONFIG):
        await until(lambda: started(store, job_id))
    assert (await store.get(job_id)).reason is None


def _url(closed: socket.socket) -> str:
    closed.bind(("127.0.0.1", 0))  # and does not listen
    return f"http://127.0.0.1:{closed.getsockname()[1]}/api"
