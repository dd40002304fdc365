"""What browsers let scripts of other origins do with the API."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from deployments.settings import Settings
from flows.errors import ConfigurationError
from flows.jobs.store import JobStore
from tests.api.conftest import README_ZIP, Keys, Site
from tests.api.live.following import own_site

NAMED = "https://app.example.org"
FOREIGN = "https://evil.example.com"
SUBMIT = "/api/application/wc/job"
ZIP = {"Content-Type": "application/zip"}


@pytest_asyncio.fixture
async def site(
    request: pytest.FixtureRequest,
    environment: pytest.MonkeyPatch,
    database_url: URL,
    keys: Keys,
    tmp_path: Path,
) -> AsyncIterator[Site]:
    origins = getattr(request, "param", f"https://other.example.org, {NAMED}")
    environment.setenv("BARTENDER_CORS_ORIGINS", origins)
    async with own_site(environment, database_url, keys, tmp_path / "data") as site:
        yield site


async def preflight(site: Site, origin: str, method: str = "PUT", **headers: str) -> httpx.Response:
    asked = {"Origin": origin, "Access-Control-Request-Method": method}
    asked |= {name.replace("_", "-"): value for name, value in headers.items()}
    return await (await site.anonymous()).options(SUBMIT, headers=asked)


def allowed(answer: httpx.Response) -> str | None:
    value: str | None = answer.headers.get("Access-Control-Allow-Origin")
    return value


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
async def test_a_script_may_ask(site: Site, method: str) -> None:
    # As a browser asks for a submission, and with what tools for tracing add.
    headers = "authorization, content-type, idempotency-key, traceparent"
    answer = await preflight(site, NAMED, method, Access_Control_Request_Headers=headers)
    assert (answer.status_code, allowed(answer)) == (200, NAMED)
    assert answer.headers["Access-Control-Allow-Headers"] == headers
    assert method in answer.headers["Access-Control-Allow-Methods"]
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"
    assert "Origin" in answer.headers["Vary"]


async def test_into_a_closed_network(site: Site) -> None:
    answer = await preflight(site, NAMED, Access_Control_Request_Private_Network="true")
    assert answer.headers["Access-Control-Allow-Private-Network"] == "true"


@pytest.mark.parametrize(
    "origin", [FOREIGN, "null", f"{NAMED}.evil.com", "http://app.example.org", f"{NAMED}:8443"]
)
async def test_no_other_may(site: Site, origin: str) -> None:
    answer = await preflight(site, origin)
    assert (answer.status_code, allowed(answer)) == (400, None)
    read = await (await site.client()).get("/api/whoami", headers={"Origin": origin})
    assert (read.status_code, allowed(read), read.headers["Vary"]) == (200, None, "Origin")


async def test_a_submission(site: Site) -> None:
    client = await site.client()
    client.headers["Origin"] = NAMED
    answer = await client.put(SUBMIT, content=README_ZIP, headers=ZIP)
    assert (answer.status_code, allowed(answer)) == (303, NAMED)
    job = await client.get(answer.headers["Location"])
    assert (job.status_code, allowed(job)) == (200, NAMED)
    listed = await client.get("/api/job/")
    assert "X-Total-Count" in listed.headers["Access-Control-Expose-Headers"]


async def test_refusals_can_be_read(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    client = await site.client()
    client.headers["Origin"] = NAMED
    large = {"Content-Length": "100000000"} | ZIP
    refusals = [
        (await (await site.anonymous()).get("/api/job/", headers={"Origin": NAMED}), 403),
        (await client.get("/api/job/", headers={"Authorization": "Bearer x"}), 401),
        (await client.get("/api/job/77"), 404),
        (await client.get("/api/nothing"), 404),
        (await client.post("/api/whoami"), 405),
        (await client.put(SUBMIT, content=b"no archive", headers=ZIP), 422),
        (await client.put(SUBMIT, content=b"", headers=large | {"Content-Length": "0"}), 422),
        (await client.get("/api/job/?limit=x"), 422),
    ]
    for answer, status in refusals:
        assert (answer.status_code, allowed(answer)) == (status, NAMED)

    async def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("a mistake of ours")

    monkeypatch.setattr(JobStore, "rows_of_submitter", fail)
    answer = await client.get("/api/job/")
    assert (answer.status_code, allowed(answer)) == (500, NAMED)


async def test_the_cookie_of_a_named_origin(site: Site) -> None:
    job = await site.ended_job({})
    client = await site.anonymous()
    client.cookies.set("bartenderToken", site.keys.token())
    for origin, status in ((FOREIGN, 403), ("null", 403), (NAMED, 200)):
        assert (await client.post(f"/api/job/{job.id}/pin", headers={"Origin": origin})).status_code == status


@pytest.mark.parametrize("site", ["*"], indirect=True)
async def test_any_origin_but_not_with_the_cookie(site: Site) -> None:
    answer = await preflight(site, FOREIGN)
    assert (answer.status_code, allowed(answer)) == (200, "*")
    assert "Access-Control-Allow-Credentials" not in answer.headers
    private = await preflight(site, FOREIGN, Access_Control_Request_Private_Network="true")
    assert "Access-Control-Allow-Private-Network" not in private.headers
    job = await site.ended_job({})
    client = await site.anonymous()
    client.cookies.set("bartenderToken", site.keys.token())
    for origin in (FOREIGN, "*", "null"):
        assert (await client.post(f"/api/job/{job.id}/pin", headers={"Origin": origin})).status_code == 403


@pytest.mark.parametrize("site", [""], indirect=True)
async def test_without_the_setting_none_may(site: Site) -> None:
    answer = await preflight(site, NAMED)
    assert (answer.status_code, allowed(answer)) == (405, None)
    assert allowed(await (await site.client()).get("/api/whoami", headers={"Origin": NAMED})) is None


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        (NAMED, (NAMED,)),
        (f" {NAMED}/ ,,{NAMED}", (NAMED,)),
        ("HTTPS://App.Example.ORG:443", (NAMED,)),
        ("http://localhost:3000,http://[::1]:80", ("http://localhost:3000", "http://[::1]")),
        ("https://bücher.example", ("https://xn--bcher-kva.example",)),
        ("capacitor://localhost", ("capacitor://localhost",)),
        ("*", ("*",)),
        ("", ()),
    ],
)
def test_origins_are_as_browsers_send_them(
    written: str, sent: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTENDER_CORS_ORIGINS", written)
    assert Settings.load().origins == sent


@pytest.mark.parametrize(
    "written",
    [
        "app.example.org",
        "null",
        "https://",
        "https://*.example.org",
        "https://jane@example.org",
        "https://example.org:port",
        f"{NAMED}/app",
        f"{NAMED}?a",
        f"{NAMED} {FOREIGN}",
        f"{NAMED};{FOREIGN}",
    ],
)
def test_no_origins(written: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARTENDER_CORS_ORIGINS", written)
    with pytest.raises(ConfigurationError, match="cors_origins") as refused:
        Settings.load()
    assert "\n" not in str(refused.value)
