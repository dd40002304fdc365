"""Chromium as the system packages it, driven by Playwright, which brings no browser of its own here."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from tests.services.packages import need

WHAT = "Chromium"
PROGRAM = "chromium"
# Without a sandbox of its own it runs as root too; the others keep it from talking to its makers.
OPTIONS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def install() -> None:
    """Raise Missing where it can neither be found nor installed."""
    need(WHAT, [PROGRAM], [PROGRAM])


@asynccontextmanager
async def running() -> AsyncIterator[Browser]:
    """A browser without window, with a new profile, which is removed with it."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=f"/usr/bin/{PROGRAM}", args=list(OPTIONS), timeout=300_000
        )
        try:
            yield browser
        finally:
            await browser.close()
