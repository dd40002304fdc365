"""The documentation's pages in a real browser, which reaches no other machine."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, Request, Route, expect
from sqlalchemy import URL

from tests.api.conftest import Keys, Site
from tests.api.live.following import own_site
from tests.waiting import LONG_ENOUGH

PREFIXES = ["", "/bartender"]


@pytest_asyncio.fixture(params=PREFIXES)
async def below(
    request: pytest.FixtureRequest,
    environment: pytest.MonkeyPatch,
    database_url: URL,
    keys: Keys,
    tmp_path: Path,
) -> AsyncIterator[tuple[Site, str]]:
    environment.setenv("BARTENDER_ROOT_PATH", request.param)
    async with own_site(environment, database_url, keys, tmp_path / "data") as site:
        yield site, f"http://127.0.0.1:{site.port}{request.param}"


class Shown(NamedTuple):
    page: Page
    elsewhere: list[str]
    complaints: list[str]


@asynccontextmanager
async def shown(browser: Browser, base: str, path: str) -> AsyncIterator[Shown]:
    context = await browser.new_context()
    context.set_default_timeout(1000 * LONG_ENOUGH)
    page = await context.new_page()
    found = Shown(page, [], [])

    async def only_here(route: Route, request: Request) -> None:
        if request.url.startswith((f"{base}/", "data:", "blob:")):
            await route.continue_()
        else:
            found.elsewhere.append(request.url)
            await route.abort()

    await page.route("**/*", only_here)
    page.on("pageerror", lambda error: found.complaints.append(str(error)))
    try:
        answer = await page.goto(f"{base}{path}")
        assert answer is not None
        assert answer.status == 200
        yield found
    finally:
        await context.close()


async def test_swagger(browser: Browser, below: tuple[Site, str]) -> None:
    _, base = below
    async with shown(browser, base, "/api/docs") as (page, elsewhere, complaints):
        operation = page.locator("#operations-application-application_wc")
        await expect(operation).to_contain_text("Count words", timeout=1000 * LONG_ENOUGH)
        assert await page.locator(".opblock").count() > 20
        await expect(page.locator(".errors-wrapper")).to_have_count(0)
        assert (elsewhere, complaints) == ([], [])


async def test_swagger_asks_where_the_service_is(browser: Browser, below: tuple[Site, str]) -> None:
    _, base = below
    async with shown(browser, base, "/api/docs") as (page, _, _):
        await page.locator("#operations-health-health_check button.opblock-summary-control").click()
        await page.get_by_role("button", name="Try it out").click()
        async with page.expect_response(f"{base}/api/health") as answered:
            await page.get_by_role("button", name="Execute").click()
        assert (await answered.value).status == 200


async def test_redoc(browser: Browser, below: tuple[Site, str]) -> None:
    _, base = below
    async with shown(browser, base, "/api/redoc") as (page, elsewhere, complaints):
        heading = page.get_by_role("heading", name="Count words").first
        await expect(heading).to_be_visible(timeout=1000 * LONG_ENOUGH)
        assert complaints == []
        # The picture of its makers' name; the policy of the page keeps the browser from asking for it.
        assert elsewhere == []
