"""Reports of jobs in a real browser, with the cookie of whoever looks at them."""

import asyncio
import base64
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from tests.api.conftest import Site
from tests.api.files.directories import job_with
from tests.waiting import LONG_ENOUGH

PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
DRAWING = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'
PLOTS = ("plotly==7.1.0", "bokeh==3.9.2")
PATIENCE = 1000 * LONG_ENOUGH


@pytest_asyncio.fixture
async def visitor(browser: Browser, site: Site) -> AsyncIterator[BrowserContext]:
    """A browser that is logged in by the web application's cookie."""
    url = f"http://127.0.0.1:{site.port}"
    context = await browser.new_context(base_url=url)
    context.set_default_timeout(PATIENCE)
    await context.add_cookies(
        [{"name": "bartenderToken", "value": site.keys.token(), "url": url, "httpOnly": True}]
    )
    yield context
    await context.close()


SCRIPT = """
const said = [];
function tell(text) {
  said.push(text);
  if (said.length == 3) document.getElementById("seen").textContent = said.sort().join("; ");
}
fetch("/api/job/").then(function (a) { tell("list " + a.status) }, function () { tell("list stopped") });
fetch("/api/job/JOB", {method: "DELETE"})
  .then(function (a) { tell("delete " + a.status) }, function () { tell("delete stopped") });
fetch("/api/job/JOB/pin", {method: "POST", mode: "no-cors"})
  .then(function () { tell("pin sent") }, function () { tell("pin stopped") });
"""
HOSTILE = {
    "report.html": f"<p id=seen></p><script>{SCRIPT}</script>",
    "drawing.svg": '<svg xmlns="http://www.w3.org/2000/svg"><text id="seen"/>'
    f"<script>{SCRIPT}</script></svg>",
    "page.xhtml": '<html xmlns="http://www.w3.org/1999/xhtml"><p id="seen"/>'
    f"<script>{SCRIPT}</script></html>",
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_report_does_nothing_in_the_name_of_who_looks_at_it(
    site: Site, visitor: BrowserContext, name: str
) -> None:
    job, directory = await job_with(site)
    (directory / name).write_text(HOSTILE[name].replace("JOB", str(job.id)))
    page = await visitor.new_page()
    await page.goto(f"/api/job/{job.id}/files/{name}")
    await expect(page.locator("#seen")).to_have_text(
        "delete stopped; list stopped; pin sent", timeout=PATIENCE
    )
    kept = await site.store.get(job.id)
    assert (kept.deleted_on, kept.pinned) == (None, False)
    # The service's own pages may, with the same cookie: without the sandbox the report could, too.
    await page.goto("/api/docs")
    ask = "url => fetch(url, {method: 'POST'}).then(answer => answer.status)"
    assert await page.evaluate(ask, f"/api/job/{job.id}/pin") == 200


def write_report(here: Path) -> int:
    """Write a page that is made of files beside it; return how many of these tell that they are there."""
    parts = here / "parts"
    parts.mkdir(parents=True)
    files: dict[str, str | bytes] = {
        "style.css": "@import url(more.css); #styled { color: rgb(1, 2, 3) }"
        "#pictured { background-image: url(back.png) }",
        "more.css": "#imported { color: rgb(4, 5, 6) }",
        "back.png": PICTURE,
        "drawing.svg": DRAWING,
        "module.js": "import {name} from './inner.js'; done(name)",
        "inner.js": "export const name = 'module'",
        "later.js": "done('later')",
        "data.json": json.dumps("fetched"),
        "frame.html": "<script>parent.postMessage('frame', '*')</script>",
        **{f"{number}.js": f"done('script {number}')" for number in range(10)},
        **{f"{number}.png": PICTURE for number in range(10)},
    }
    for name, content in files.items():
        (parts / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    scripts = "".join(f"<script src=parts/{number}.js></script>" for number in range(10))
    pictures = "".join(
        f"<img src=parts/{number}.png onload='done(`picture {number}`)'>" for number in range(10)
    )
    (here / "next.html").write_text("<p id=next>The next page</p><a href=index.html>back</a>")
    (here / "index.html").write_text(
        f"""<!doctype html><title>Report</title><link rel=stylesheet href=parts/style.css>
        <p id=done></p><p id=styled>x</p><p id=imported>x</p><p id=pictured>x</p>
        <script>
        const all = new Set();
        const done = name => {{ all.add(name); document.getElementById("done").textContent = all.size }};
        addEventListener("message", event => done(event.data));
        </script>
        {pictures}<img src=parts/drawing.svg onload="done('drawing')">{scripts}
        <script type=module src=parts/module.js></script>
        <script>import("./parts/later.js"); fetch("parts/data.json").then(a => a.json()).then(done)</script>
        <iframe src=parts/frame.html></iframe><a id=link href=next.html>next</a>"""
    )
    return 10 + 10 + len(["drawing", "module", "later", "fetched", "frame"])


async def test_a_report_of_many_files_is_whole(site: Site, visitor: BrowserContext) -> None:
    job, directory = await job_with(site)
    number = write_report(directory / "report")
    page = await visitor.new_page()
    await page.goto(f"/api/job/{job.id}/files/report/index.html")
    assert await page.evaluate("origin") == "null"
    await expect(page.locator("#done")).to_have_text(str(number), timeout=PATIENCE)
    await expect(page.locator("#styled")).to_have_css("color", "rgb(1, 2, 3)", timeout=PATIENCE)
    await expect(page.locator("#imported")).to_have_css("color", "rgb(4, 5, 6)", timeout=PATIENCE)
    await page.click("#link")
    await expect(page.locator("#next")).to_have_text("The next page", timeout=PATIENCE)
    await page.get_by_role("link", name="back").click()
    await expect(page.locator("#done")).to_have_text(str(number), timeout=PATIENCE)


MAKE_PLOTS = """
import plotly.graph_objects
from bokeh.plotting import figure, output_file, save
plot = plotly.graph_objects.Figure(plotly.graph_objects.Scatter(y=[1, 3, 2]))
plot.write_html("plotly.html", include_plotlyjs="directory")
output_file("bokeh.html", mode="inline")
plot = figure()
plot.line([1, 2], [3, 4])
save(plot)
"""


@pytest.mark.long
async def test_plots_look_as_they_do(site: Site, visitor: BrowserContext, tmp_path: Path) -> None:
    """Of plotly, whose script is beside the page, and of bokeh, with its own inside."""
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--target",
        str(tmp_path / "packages"),
        *PLOTS,
    ]
    await asyncio.to_thread(subprocess.run, install, check=True)
    job, directory = await job_with(site)
    environment = {"PYTHONPATH": str(tmp_path / "packages")}
    make = [sys.executable, "-c", MAKE_PLOTS]
    await asyncio.to_thread(subprocess.run, make, cwd=directory, env=environment, check=True)
    page = await visitor.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"/api/job/{job.id}/files/plotly.html")
    await expect(page.locator(".scatterlayer .trace").first).to_be_visible(timeout=PATIENCE)
    await page.goto(f"/api/job/{job.id}/files/bokeh.html")
    await expect(page.locator(".bk-Figure").first).to_be_visible(timeout=PATIENCE)
    assert complaints == []
