"""A submission that is sent again under its Idempotency-Key makes no other job."""

import asyncio
from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from flows.jobs.store import JobStore
from tests.api.conftest import README_ZIP, Site, zip_of

BARE = "/api/application/wc/job"
TYPED = "/api/application/typed"
FIELDS = {"count": "1", "text": "x"}


def sent(form: str, key: str | None) -> dict[str, Any]:
    headers = {} if key is None else {"Idempotency-Key": key}
    if form == "bare":
        return {"content": README_ZIP, "headers": {**headers, "Content-Type": "application/zip"}}
    return {"files": {"upload": ("a.zip", README_ZIP, "application/zip")}, "headers": headers}


async def locations(client: httpx.AsyncClient, *forms: tuple[str, str | None]) -> list[str]:
    answers = [await client.put(BARE, **sent(form, key)) for form, key in forms]
    assert {answer.status_code for answer in answers} == {303}, [answer.text for answer in answers]
    return [answer.headers["Location"] for answer in answers]


async def test_again(site: Site, alice: httpx.AsyncClient) -> None:
    found = await locations(alice, ("bare", "k"), ("multipart", "k"), ("bare", "k"))
    assert len(set(found)) == 1
    [job] = await site.jobs()
    assert job.idempotency_key == "k"
    [path] = site.uploads()
    assert path.name.startswith(str(job.token))
    found += await locations(alice, ("bare", "K"), ("bare", None), ("bare", None))
    assert len(set(found)) == 4


async def test_both_routes(site: Site, alice: httpx.AsyncClient) -> None:
    [one] = await locations(alice, ("bare", "k"))
    two = await alice.put("/api/application/wc", **sent("multipart", "k"))
    assert (two.status_code, two.headers["Location"]) == (303, one)


async def test_keys_of_others_are_others(site: Site, alice: httpx.AsyncClient) -> None:
    bob = await site.client("bob")
    [one], [two] = await locations(alice, ("bare", "k")), await locations(bob, ("bare", "k"))
    assert one != two


@pytest.mark.parametrize("form", ["bare", "multipart"])
async def test_many_at_once(site: Site, form: str) -> None:
    clients = [await site.client() for _ in range(12)]
    found = await asyncio.gather(*(locations(client, (form, "k")) for client in clients))
    assert len({location for [location] in found}) == 1
    [job] = await site.jobs()
    assert [path.name.partition(".")[0] for path in site.uploads()] == [str(job.token)]


async def test_at_the_same_moment(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one is written down after ours was looked for."""
    [first] = await locations(alice, ("bare", "k"))
    look = JobStore.by_idempotency_key
    answers = [None]

    async def seen_too_early(store: JobStore, submitter: str, key: str) -> Any:
        return answers.pop() if answers else await look(store, submitter, key)

    monkeypatch.setattr(JobStore, "by_idempotency_key", seen_too_early)
    assert await locations(alice, ("bare", "k")) == [first]
    assert len(site.uploads()) == len(await site.jobs()) == 1
    answers.append(None)
    response = await alice.put(TYPED, **sent("multipart", "k"), data=FIELDS)
    assert response.status_code == 422
    assert len(site.uploads()) == len(await site.jobs()) == 1


async def test_another_application(site: Site, alice: httpx.AsyncClient) -> None:
    [first] = await locations(alice, ("bare", "k"))
    response = await alice.put(TYPED, **sent("multipart", "k"), data=FIELDS)
    assert response.status_code == 422
    job_id = first.rpartition("/")[2]
    assert response.json()["detail"] == (
        f"This Idempotency-Key is that of job {job_id} of application 'wc'; use a new one."
    )
    assert len(site.uploads()) == len(await site.jobs()) == 1


async def test_a_refused_submission_does_not_use_up_its_key(site: Site, alice: httpx.AsyncClient) -> None:
    headers = {"Content-Type": "application/zip", "Idempotency-Key": "k"}
    assert (await alice.put(BARE, content=b"rubbish", headers=headers)).status_code == 422
    assert await site.nothing_is_left()
    await locations(alice, ("bare", "k"))


async def test_a_large_upload_sent_again_is_read_to_its_end(site: Site, alice: httpx.AsyncClient) -> None:
    content = zip_of({"README.md": b"x" * 5_000_000}, compression=0)
    headers = {"Content-Type": "application/zip", "Idempotency-Key": "k"}
    first, second = [await alice.put(BARE, content=content, headers=headers) for _ in range(2)]
    assert (second.status_code, second.headers["Location"]) == (303, first.headers["Location"])
    assert second.headers.get("Connection") != "close"


async def test_key_of_a_job_that_is_gone(site: Site, alice: httpx.AsyncClient) -> None:
    [first] = await locations(alice, ("bare", "k"))
    await site.store.pool.fetch(sa.text("DELETE FROM job"))
    assert await locations(alice, ("bare", "k")) != [first]


@pytest.mark.parametrize("key", ["", "x" * 256, "a\tb", "é".encode("latin-1")])
async def test_bad_keys(site: Site, alice: httpx.AsyncClient, key: str | bytes) -> None:
    headers = [("Content-Type", "application/zip"), ("Idempotency-Key", key)]
    response = await alice.put(BARE, content=README_ZIP, headers=headers)  # type: ignore[arg-type]
    assert response.status_code == 422
    assert response.json()["detail"].startswith("Idempotency-Key: ")
    assert await site.nothing_is_left()


async def test_in_the_document(site: Site) -> None:
    paths = (await (await site.anonymous()).get("/api/openapi.json")).json()["paths"]
    for path in (BARE, TYPED):
        [parameter] = paths[path]["put"]["parameters"]
        assert (parameter["name"], parameter["in"], parameter["required"]) == (
            "Idempotency-Key",
            "header",
            False,
        )
