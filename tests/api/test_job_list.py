"""Filters, order and total of the job list; the list of applications."""

import uuid
from typing import Any

import httpx
import pytest

from flows.errors import CommandFailed
from flows.jobs.job import Job, State
from tests.api.conftest import CONFIG, Site
from tests.statements import Asked


async def named(site: Site, name: str, application: str = "wc", username: str = "alice") -> Job:
    job = await site.store.create(
        application=application, submitter=username, roles=[], command="", token=uuid.uuid4()
    )
    await site.store.rename(job.id, name)
    return job


async def listed(client: httpx.AsyncClient, **params: Any) -> tuple[list[str], int]:
    response = await client.get("/api/job/", params=params)
    assert response.status_code == 200, response.text
    return [job["name"] for job in response.json()], int(response.headers["X-Total-Count"])


async def test_total(site: Site, alice: httpx.AsyncClient) -> None:
    assert await listed(alice) == ([], 0)
    for number in range(5):
        await named(site, str(number))
    await named(site, "of bob", username="bob")
    assert await listed(alice) == (["4", "3", "2", "1", "0"], 5)
    assert await listed(alice, limit=2) == (["4", "3"], 5)
    assert await listed(alice, limit=2, offset=4) == (["0"], 5)
    assert await listed(alice, limit=5) == (["4", "3", "2", "1", "0"], 5)
    assert await listed(alice, limit=0) == ([], 5)
    assert await listed(alice, offset=5) == ([], 5)
    assert await listed(alice, offset=50) == ([], 5)
    assert (await alice.head("/api/job/")).headers["X-Total-Count"] == "5"


async def test_states(site: Site, alice: httpx.AsyncClient) -> None:
    await named(site, "new")
    running = await named(site, "running")
    await site.store.advance(running.id, State.RUNNING)
    failed = await named(site, "error")
    await site.store.fail(failed.id, CommandFailed("Too bad."))
    assert await listed(alice, state="new") == (["new"], 1)
    assert await listed(alice, state=["new", "error"]) == (["error", "new"], 2)
    assert await listed(alice, state=["ok"]) == ([], 0)
    assert await listed(alice, state=["new", "running", "error"], limit=1) == (["error"], 3)


async def test_application_and_name(site: Site, alice: httpx.AsyncClient) -> None:
    await named(site, "Größe 100%")
    await named(site, "a_b", "typed")
    await named(site, "axb", "typed")
    await named(site, r"back\slash/ ")
    assert await listed(alice, application="typed") == (["axb", "a_b"], 2)
    assert await listed(alice, application="gone") == ([], 0)
    assert await listed(alice, name="GRÖSSE".replace("SS", "ß")) == (["Größe 100%"], 1)
    assert await listed(alice, name="%") == (["Größe 100%"], 1)
    assert await listed(alice, name="_") == (["a_b"], 1)
    assert await listed(alice, name="\\S") == ([r"back\slash/ "], 1)
    assert await listed(alice, name="/") == ([r"back\slash/ "], 1)
    assert await listed(alice, name="' OR 1=1 --") == ([], 0)
    assert await listed(alice, name="A", application="typed", state="new", limit=1) == (["axb"], 2)
    assert (await listed(alice, name=""))[1] == 4


async def test_order(site: Site, alice: httpx.AsyncClient) -> None:
    jobs = {name: await named(site, name) for name in ("b", "c", "a")}
    await site.store.rename(jobs["b"].id, "b")  # now it is the one that was changed last
    assert (await listed(alice))[0] == ["a", "c", "b"]
    assert (await listed(alice, order_by="created_on"))[0] == ["b", "c", "a"]
    assert (await listed(alice, order_by="-created_on"))[0] == ["a", "c", "b"]
    assert (await listed(alice, order_by="name"))[0] == ["a", "b", "c"]
    assert (await listed(alice, order_by="-name"))[0] == ["c", "b", "a"]
    assert (await listed(alice, order_by="updated_on"))[0] == ["c", "a", "b"]
    assert (await listed(alice, order_by="-updated_on", limit=1)) == (["b"], 3)


async def test_order_of_equals_does_not_change_between_pages(site: Site, alice: httpx.AsyncClient) -> None:
    ids = [(await named(site, "same")).id for _ in range(6)]
    for order, expected in (("name", ids), ("-name", ids[::-1])):
        pages = [
            (await alice.get("/api/job/", params={"order_by": order, "limit": 2, "offset": offset})).json()
            for offset in (0, 2, 4)
        ]
        assert [job["id"] for page in pages for job in page] == expected


@pytest.mark.parametrize(
    "query", ["state=done", "order_by=id", "order_by=command", "name=%00", "application=%00"]
)
async def test_refused(alice: httpx.AsyncClient, query: str) -> None:
    response = await alice.get(f"/api/job/?{query}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(query.partition("=")[0])


@pytest.mark.parametrize(("params", "most"), [({}, 1), ({"limit": 2}, 2), ({"state": "new", "name": "x"}, 2)])
async def test_statements(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, params: dict[str, Any], most: int
) -> None:
    for _ in range(3):
        await named(site, "x")
    asked = Asked(monkeypatch)
    await listed(alice, **params)
    assert len(asked) <= most


async def test_applications(site: Site, alice: httpx.AsyncClient) -> None:
    configured = CONFIG["applications"]
    answer = (await alice.get("/api/application/")).json()
    assert [application["name"] for application in answer] == ["typed", "wc"]  # as in the file
    assert answer[1] == {
        "name": "wc",
        "summary": "Count words",
        "description": None,
        "input_schema": None,
        "upload_needs": ["README.md"],
    }
    assert answer[0]["input_schema"] == configured["typed"]["input_schema"]
    member = await site.client("carol", "member")
    names = [application["name"] for application in (await member.get("/api/application")).json()]
    assert names == ["members", "typed", "wc"]
    assert "command" not in (await member.get("/api/application/")).text
    assert (await (await site.anonymous()).get("/api/application/")).status_code == 403
