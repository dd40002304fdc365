"""What browsers would run never runs in the visitor's name: it is shown elsewhere, without the cookie."""

import time
from typing import Any

import httpx
import pytest
import pytest_asyncio

from api.access_log import hide
from api.files.shown import may_run
from api.tokens import capabilities
from api.tokens.capabilities import Capabilities, CapabilityInvalid
from flows.jobs.job import Job
from tests.api.conftest import Site
from tests.api.files.directories import job_with

PAGE = b"<!doctype html><script src=more/a.js></script>"
RUN = ["a.html", "a.htm", "a.xhtml", "a.svg", "a.xml", "a.rss", "a.xsl", "a.mhtml", "a.swf"]
INERT = ["a.txt", "a.log", "a.json", "a.png", "a.csv", "a.tsv", "a.js", "a.css", "a.pdf", "a.pdb.gz", "a"]


@pytest_asyncio.fixture
async def browser(site: Site) -> httpx.AsyncClient:
    """Sends the token as the web application's pages do."""
    client = await site.anonymous()
    client.cookies.set("bartenderToken", site.keys.token())
    return client


async def with_page(site: Site) -> Job:
    job, directory = await job_with(site, **{"a page.html": PAGE, "a.txt": b"text"})
    (directory / "more").mkdir()
    (directory / "more" / "a.js").write_text("1")
    return job


@pytest.mark.parametrize("name", RUN)
async def test_what_would_run_is_shown_elsewhere(site: Site, browser: httpx.AsyncClient, name: str) -> None:
    job, _ = await job_with(site, **{name: b"<x/>"})
    answer = await browser.get(f"/api/job/{job.id}/files/{name}")
    assert (answer.status_code, answer.content) == (307, b"")
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("name", INERT)
async def test_what_runs_nowhere_stays(site: Site, browser: httpx.AsyncClient, name: str) -> None:
    job, _ = await job_with(site, **{name: b"<x/>"})
    answer = await browser.get(f"/api/job/{job.id}/files/{name}")
    assert (answer.status_code, answer.content) == (200, b"<x/>")


def test_what_is_not_known_may_run() -> None:
    assert may_run("application/x-of-tomorrow")
    assert may_run("image/svg+xml; charset=utf-8")
    assert may_run("TEXT/HTML")
    assert not may_run("Text/Plain; charset=utf-8")


async def test_a_page_and_its_parts(site: Site, browser: httpx.AsyncClient) -> None:
    job = await with_page(site)
    answer = await browser.get(f"/api/job/{job.id}/files/a%20page.html?q=1%2B1")
    location = answer.headers["Location"]
    assert location.endswith("/a%20page.html?q=1%2B1")
    anonymous = await site.anonymous()
    page = await anonymous.get(location)
    assert (page.status_code, page.content) == (200, PAGE)
    assert page.headers["Content-Type"].startswith("text/html")
    part = await anonymous.get(location.partition("a%20page")[0] + "more/a.js")
    assert (part.status_code, part.text) == (200, "1")
    for shown in (page, part):
        policy = shown.headers["Content-Security-Policy"]
        assert "sandbox allow-scripts" in policy
        assert "allow-same-origin" not in policy
        assert "default-src 'self'" in policy
        assert shown.headers["Access-Control-Allow-Origin"] == "*"
        assert shown.headers["Referrer-Policy"] == "no-referrer"
        assert shown.headers["X-Content-Type-Options"] == "nosniff"


async def test_who_sends_the_token_gets_the_file(site: Site, alice: httpx.AsyncClient) -> None:
    job = await with_page(site)
    url = f"/api/job/{job.id}/files/a%20page.html"
    assert (await alice.get(url)).content == PAGE
    client = await site.anonymous()
    client.cookies.set("bartenderToken", "old")
    assert (await client.get(url, params={"token": site.keys.token()})).content == PAGE


async def test_an_address_with_a_token_is_no_way_around(site: Site, browser: httpx.AsyncClient) -> None:
    job = await with_page(site)
    # Somebody sends a visitor, who has a cookie, the address of a page of theirs with their own token.
    params = {"token": site.keys.token()}
    page = await browser.get(f"/api/job/{job.id}/files/a%20page.html", params=params)
    assert (page.status_code, page.content) == (200, PAGE)
    policy = page.headers["Content-Security-Policy"]
    assert policy.startswith("sandbox ")
    assert "allow-same-origin" not in policy
    assert "Access-Control-Allow-Origin" not in page.headers
    text = await browser.get(f"/api/job/{job.id}/files/a.txt", params=params)
    assert "Content-Security-Policy" not in text.headers


async def test_a_capability_is_for_one_job(site: Site, browser: httpx.AsyncClient) -> None:
    job, other = await with_page(site), await with_page(site)
    location = (await browser.get(f"/api/job/{job.id}/files/a%20page.html")).headers["Location"]
    capability = location.split("/")[3]
    anonymous = await site.anonymous()
    for forged in (
        capability.replace(f"{job.id}-", f"{other.id}-", 1),
        capability[:-1] + ("A" if capability[-1] != "A" else "B"),
        capability + "A",
        "1",
        "x",
    ):
        answer = await anonymous.get(location.replace(capability, forged))
        assert (answer.status_code, answer.headers["Content-Type"]) == (403, "application/json")
    assert (await anonymous.get(f"/api/view/{capability}/../../job/")).status_code in {403, 404}
    assert (await anonymous.get(f"/api/view/{capability}/..%2F{other.id}%2Fa.txt")).status_code == 404
    assert (await anonymous.put(location)).status_code == 405


async def test_it_ends_with_its_job(site: Site, browser: httpx.AsyncClient, alice: httpx.AsyncClient) -> None:
    job = await with_page(site)
    location = (await browser.get(f"/api/job/{job.id}/files/a%20page.html")).headers["Location"]
    assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
    anonymous = await site.anonymous()
    assert (await anonymous.get(location)).status_code == 404


def test_it_ends_after_an_hour(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, same = (Capabilities.of(tmp_path / "data" / "key") for _ in range(2))
    assert (tmp_path / "data" / "key").stat().st_mode & 0o777 == 0o600
    capability = ours.make(7)
    assert same.job_of(capability) == 7
    with pytest.raises(CapabilityInvalid, match="not one that was given out"):
        Capabilities.of(tmp_path / "other").job_of(capability)
    later = time.time() + capabilities.LIFETIME + 1
    monkeypatch.setattr(time, "time", lambda: later)
    with pytest.raises(CapabilityInvalid, match="good for an hour"):
        ours.job_of(capability)


def test_no_log_tells_a_capability() -> None:
    assert hide("/api/view/7-1-secret/a.html?x=1") == "/api/view/…/a.html?x=1"
    assert hide("/api/job/7/files/view/a.html") == "/api/job/7/files/view/a.html"


# Cross-site requests


@pytest.mark.parametrize(
    ("origin", "is_heard"),
    [
        ("http://{host}", True),
        ("https://{host}", True),
        ("http://{host}.example.org", False),
        ("http://example.org", False),
        ("http://127.0.0.1:1", False),
        ("null", False),
        ("", False),
        ("//{host}", False),
        (None, False),
    ],
)
async def test_the_cookie_changes_something_from_our_pages_only(
    site: Site, browser: httpx.AsyncClient, origin: str | None, is_heard: bool
) -> None:
    job = await with_page(site)
    headers = {} if origin is None else {"Origin": origin.format(host=f"127.0.0.1:{site.port}")}
    assert (await browser.get(f"/api/job/{job.id}", headers=headers)).status_code == 200
    answer = await browser.post(f"/api/job/{job.id}/pin", headers=headers)
    assert answer.status_code == (200 if is_heard else 403)
    assert is_heard or "send the token as Authorization: Bearer" in answer.json()["detail"]
    token = {"Authorization": f"Bearer {site.keys.token()}"}
    assert (await browser.post(f"/api/job/{job.id}/pin", headers=headers | token)).status_code == 200
