"""Behind a proxy that offers the service below a path, whether it takes that off or not."""

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import URL

from deployments.settings import Settings
from flows.errors import ConfigurationError
from tests.api.conftest import README_ZIP, Keys, Site
from tests.api.live.following import own_site
from tests.e2e.service import until

PREFIX = "/tools/bartender"
ZIP = {"Content-Type": "application/zip"}
# What reaches us of a path below the prefix: nginx takes it off where proxy_pass ends in a slash.
PROXIES = {"takes it off": "", "leaves it": PREFIX}


@pytest_asyncio.fixture
async def site(
    environment: pytest.MonkeyPatch, database_url: URL, keys: Keys, tmp_path: Path
) -> AsyncIterator[Site]:
    environment.setenv("BARTENDER_ROOT_PATH", f"{PREFIX}/")
    async with own_site(environment, database_url, keys, tmp_path / "data") as site:
        yield site


class Proxy:
    """Asks for what is below the prefix, as the proxy would."""

    def __init__(self, client: httpx.AsyncClient, before: str) -> None:
        self.client = client
        self._before = before

    def path(self, path: str) -> str:
        assert path.startswith(f"{PREFIX}/"), f"{path} is not below the prefix"
        return self._before + path.removeprefix(PREFIX)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(self.path(path))


@pytest_asyncio.fixture(params=PROXIES)
async def proxy(site: Site, request: pytest.FixtureRequest) -> Proxy:
    return Proxy(await site.client(), PROXIES[request.param])


async def test_a_job(site: Site, proxy: Proxy) -> None:
    route = proxy.path(f"{PREFIX}/api/application/wc/job")
    answer = await proxy.client.put(route, content=README_ZIP, headers=ZIP)
    assert answer.status_code == 303, answer.text
    location = answer.headers["Location"]
    assert re.fullmatch(rf"{PREFIX}/api/job/\d+", location)
    assert (await proxy.get(location)).json()["state"] == "new"


async def test_a_page_of_a_job(site: Site, proxy: Proxy) -> None:
    job = await site.ended_job({"a.html": b"<p>"})
    proxy.client.headers.pop("Authorization")
    proxy.client.cookies.set("bartenderToken", site.keys.token())
    answer = await proxy.get(f"{PREFIX}/api/job/{job.id}/files/a.html")
    assert answer.status_code == 307
    assert (await proxy.get(answer.headers["Location"])).content == b"<p>"


async def test_a_result_that_is_not_waited_for(site: Site, proxy: Proxy) -> None:
    job = await site.ended_job({})
    answer = await proxy.client.post(
        proxy.path(f"{PREFIX}/api/job/{job.id}/interactive/sh"),
        json={"script": "echo done"},
        headers={"Prefer": "respond-async"},
    )
    assert answer.status_code == 202

    async def result() -> httpx.Response | None:
        found = await proxy.get(answer.headers["Location"])
        return None if found.status_code == 425 else found

    assert (await until(result)).json()["stdout"] == "done\n"


@pytest.mark.parametrize("page", ["docs", "redoc"])
async def test_all_that_the_documentation_loads(proxy: Proxy, page: str) -> None:
    html = (await proxy.get(f"{PREFIX}/api/{page}")).text
    addresses = re.findall(r"""(?:src|href|spec-url|url)(?:=|: )["']([^"'#]+)["']""", html)
    assert len(addresses) >= 3
    for address in addresses:
        assert (await proxy.get(address)).status_code == 200, address


async def test_the_document_says_where_the_service_is(proxy: Proxy) -> None:
    document = (await proxy.get(f"{PREFIX}/api/openapi.json")).json()
    assert document["servers"] == [{"url": PREFIX}]
    assert "/api/job/" in document["paths"]


async def test_what_is_not_there(proxy: Proxy) -> None:
    assert (await proxy.get(f"{PREFIX}/api/nothing")).status_code == 404
    answer = await proxy.client.post(proxy.path(f"{PREFIX}/api/whoami"))
    assert (answer.status_code, answer.headers["Allow"]) == (405, "GET, HEAD")


async def test_other_paths_that_begin_like_it(site: Site) -> None:
    client = await site.client()
    assert (await client.get(f"{PREFIX}2/api/whoami")).status_code == 404
    assert (await client.get(f"{PREFIX}{PREFIX}/api/whoami")).status_code == 404


async def test_without_a_prefix_the_document_names_none(running: Site) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{running.port}") as client:
        assert "servers" not in (await client.get("/api/openapi.json")).json()


@pytest.mark.parametrize(
    "prefix", ["bartender", "/api", "/api/v1/", "/a b", "//a", "/a//b", "/ä", "https://a/b"]
)
def test_no_prefix(prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARTENDER_ROOT_PATH", prefix)
    with pytest.raises(ConfigurationError, match="root_path") as refused:
        Settings.load()
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("written", "meant"), [("", ""), ("/", ""), ("/a/", "/a"), ("/apis/b.c", "/apis/b.c")]
)
def test_prefix(written: str, meant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BARTENDER_ROOT_PATH", written)
    assert Settings.load().root_path == meant
