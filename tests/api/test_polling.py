"""Who asks for jobs again and again: the tag of an answer, and answers without a body."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import httpx
import pytest
from fastapi.encoders import jsonable_encoder
from pydantic import TypeAdapter

from api.schemas import JobModelDTO
from flows.errors import CommandFailed
from flows.jobs.job import Job, State
from flows.jobs.kept import Retention
from tests.api.conftest import Site
from tests.statements import Asked

LIST = "/api/job/"
PRIVATE = "private, no-cache"


def path_of(job: Job) -> str:
    return f"/api/job/{job.id}"


async def asked(
    client: httpx.AsyncClient, path: str, tag: str | None = None, method: str = "GET"
) -> httpx.Response:
    return await client.request(method, path, headers={} if tag is None else {"If-None-Match": tag})


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
async def test_what_is_known_is_not_sent_again(
    site: Site, alice: httpx.AsyncClient, known: str, method: str
) -> None:
    job = await site.new_job()
    for path in path_of(job), LIST:
        first = await asked(alice, path)
        tag = first.headers["ETag"]
        again = await asked(alice, path, known.format(tag), method)
        assert again.status_code == 304
        assert again.content == b""
        assert again.headers["ETag"] == tag
        for answer in first, again:
            assert answer.headers["Cache-Control"] == PRIVATE
            assert answer.headers.get("X-Total-Count") == (None if path != LIST else "1")
        assert "Content-Type" not in again.headers
        other = await asked(alice, path, '"other"', method)
        assert (other.status_code, other.headers["ETag"]) == (200, tag)
        assert other.headers["Content-Type"] == "application/json"


CHANGES: dict[str, Callable[[Site, Job], Awaitable[Any]]] = {
    "renamed": lambda site, job: site.store.rename(job.id, "other"),
    "on its way": lambda site, job: site.store.advance(job.id, State.RUNNING),
    "waits": lambda site, job: site.store.explain(job.id, "It waits."),
    "destination": lambda site, job: site.store.set_destination(job.id, "cluster"),
    "ended": lambda site, job: site.store.fail(job.id, CommandFailed("It failed.")),
    "cancelled": lambda site, job: site.store.request_cancel(job.id),
    "pinned": lambda site, job: site.store.pin(job, max_pins=1),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_every_change_is_sent(site: Site, alice: httpx.AsyncClient, change: str) -> None:
    job = await site.new_job()
    tags = {path: (await asked(alice, path)).headers["ETag"] for path in (path_of(job), LIST)}
    await CHANGES[change](site, job)
    for path, tag in tags.items():
        now = await asked(alice, path, tag)
        assert now.status_code == 200
        assert now.headers["ETag"] != tag
        assert now.content


async def test_an_expiry_that_is_announced_is_sent(site: Site, alice: httpx.AsyncClient) -> None:
    """It changes nothing else of the row: neither the state nor the time of the last change."""
    job = await site.new_job()
    await site.store.fail(job.id, CommandFailed("It failed."))
    tag = (await asked(alice, path_of(job))).headers["ETag"]
    await site.store.announce(Retention(default=30, own={}), timedelta(days=1))
    assert (await asked(alice, path_of(job), tag)).json()["expires_on"] is not None


async def test_a_job_that_is_gone_or_never_was_theirs(site: Site, alice: httpx.AsyncClient) -> None:
    bob = await site.client("bob")
    job = await site.new_job()
    tag = (await asked(alice, path_of(job))).headers["ETag"]
    listed = (await asked(alice, LIST)).headers["ETag"]
    for known in tag, "*":
        assert (await asked(bob, path_of(job), known)).status_code == 404
    assert (await asked(bob, LIST, listed)).json() == []
    anonymous = await site.anonymous()
    assert (await asked(anonymous, path_of(job), tag)).status_code == 403
    await site.store.request_deletion(job.id)
    assert (await asked(alice, path_of(job), tag)).status_code == 404
    assert (await asked(alice, LIST, listed)).json() == []


async def test_a_total_that_changes_is_sent(site: Site, alice: httpx.AsyncClient) -> None:
    """Though the page is the same."""
    await site.new_job()
    page = f"{LIST}?limit=1&order_by=created_on"
    first = await asked(alice, page)
    await site.new_job()
    second = await asked(alice, page, first.headers["ETag"])
    assert (second.status_code, second.content) == (200, first.content)
    assert second.headers["X-Total-Count"] == "2"


async def test_answers_are_as_models_make_them(site: Site, alice: httpx.AsyncClient) -> None:
    first, second = await site.new_job(), await site.new_job()
    await site.store.rename(first.id, 'é "quoted" \\ \u2028 \U0001f600 \x01')
    await site.store.fail(second.id, CommandFailed("It failed."))
    await site.store.announce(Retention(default=30, own={}), timedelta(days=1))
    jobs = await site.jobs()
    models = TypeAdapter(list[JobModelDTO])
    expected = models.dump_json(models.validate_python(jobs, from_attributes=True))
    assert (await asked(alice, LIST)).content == expected
    for job in jobs:
        answer = await asked(alice, path_of(job))
        assert answer.content == JobModelDTO.model_validate(job).model_dump_json().encode()
        assert answer.json() == jsonable_encoder(JobModelDTO.model_validate(job))


async def test_one_statement_each(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.new_job()
    statements = Asked(monkeypatch)
    for path in path_of(job), f"{LIST}?limit=1":
        await asked(alice, path)
        assert len(statements) == 1
        statements.clear()
