"""HADDOCK3 itself with all that its web application asks for: docking, scores, clusters, reports, archives.

It is what PyPI has, with the CNS that it brings (tests/services/haddock.py), and docks two helices.
Not had: its program ``haddock-restraints``, and reports that take their scripts from the network.
"""

import asyncio
import csv
import io
import os
import shutil
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, expect

from api.tokens.signing import generate_token
from tests.e2e.docking import CONFIG, FILES, RESIDUES
from tests.e2e.service import Service, until
from tests.services import haddock
from tests.services.fixtures import skipped_where_missing
from tests.waiting import LONG_ENOUGH

pytestmark = pytest.mark.long

PATIENCE = 1000 * LONG_ENOUGH
MODELS = 6


@dataclass
class Docked:
    """A server with a job of HADDOCK3 that has ended."""

    service: Service
    job_id: int

    async def run(
        self, application: str, values: dict[str, Any], job_id: int | None = None
    ) -> dict[str, Any]:
        """Run an interactive application, however long it takes on a busy machine."""
        url = f"/api/job/{job_id or self.job_id}/interactive/{application}"
        client = self.service.client
        response = await client.post(url, json=values, headers={"Prefer": "respond-async"})
        assert response.status_code == 202, response.text
        location = response.headers["Location"]

        async def has_ended() -> bool:
            nonlocal response
            response = await client.get(location)
            return response.status_code != 425

        await until(has_ended, 600)
        assert response.status_code == 200, response.text
        result: dict[str, Any] = response.json()
        assert result["returncode"] == 0, result
        return result

    async def table(self, path: str, job_id: int | None = None) -> list[dict[str, str]]:
        """Return the lines of a file of tab-separated values, without comments."""
        text = (await self.file(path, job_id)).decode()
        lines = [line for line in text.splitlines() if not line.startswith("#")]
        return list(csv.DictReader(lines, delimiter="\t"))

    async def file(self, path: str, job_id: int | None = None) -> bytes:
        response = await self.service.client.get(f"/api/job/{job_id or self.job_id}/files/{path}")
        assert response.status_code == 200, response.text
        return response.content


@pytest_asyncio.fixture(scope="module")
async def docked(
    tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config
) -> AsyncIterator[Docked]:
    directory = tmp_path_factory.mktemp("haddock")
    with skipped_where_missing(pytestconfig):
        commands = await asyncio.to_thread(haddock.install, directory)
    service = Service(tmp_path_factory.mktemp("service"), CONFIG)
    try:
        await service.start(PATH=os.pathsep.join([os.environ["PATH"], str(commands)]))
        yield Docked(service, await service.submit(FILES, "haddock3"))
    finally:
        await service.stop()
        await asyncio.to_thread(shutil.rmtree, directory)


@pytest_asyncio.fixture
async def visitor(browser: Browser, docked: Docked) -> AsyncIterator[BrowserContext]:
    """A browser that is logged in by the web application's cookie."""
    service = docked.service
    context = await browser.new_context(base_url=service.url)
    context.set_default_timeout(PATIENCE)
    token = generate_token(service.directory / "private_key.pem", "visitor", [], 60, "tests")
    await context.add_cookies(
        [{"name": "bartenderToken", "value": token, "url": service.url, "httpOnly": True}]
    )
    yield context
    await context.close()


async def show(visitor: BrowserContext, docked: Docked, step: str, clusters: int) -> None:
    """The report of a step is whole: plots, a table made by a script of another directory, and its models."""
    page = await visitor.new_page()
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    await page.goto(f"/api/job/{docked.job_id}/files/output/analysis/{step}_analysis/report.html")
    await expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=PATIENCE)
    cells = page.locator("#table2 tr").first.locator("th, td")
    await expect(cells).to_have_count(1 + clusters, timeout=PATIENCE)
    link = page.get_by_role("link", name="Download").first
    async with page.expect_download() as coming:
        await link.click()
    download = await coming.value
    model = await docked.file(f"output/5_emref/{download.suggested_filename}")
    assert (await asyncio.to_thread((await download.path()).read_bytes)) == model
    async with page.expect_response(lambda answer: answer.url.endswith(".pdb.gz")) as shown:
        await page.get_by_role("button", name="View").first.click()
    assert await (await shown.value).body() == model
    assert complaints == []
    await page.close()


async def test_a_docking(docked: Docked) -> None:
    job = await docked.service.state_is(docked.job_id, "ok", "error", seconds=600)
    stdout = (await docked.service.client.get(f"/api/job/{docked.job_id}/stdout")).text
    assert job["state"] == "ok", stdout
    assert "This HADDOCK3 run took" in stdout
    models = await docked.table("output/8_caprieval/capri_ss.tsv")
    assert len(models) == MODELS
    assert all(float(model["bsa"]) > 100 for model in models)  # the Å² that they hide of each other


async def test_its_report(docked: Docked, visitor: BrowserContext) -> None:
    clusters = await docked.table("output/8_caprieval/capri_clt.tsv")
    await show(visitor, docked, "8_caprieval", len(clusters))


async def test_restraints(docked: Docked) -> None:
    result = await docked.run("accessible", {"pdb": "one.pdb", "cutoff": 0.3})
    numbers = ",".join(str(n + 1) for n in range(len(RESIDUES)))
    assert f"Chain A - {numbers}\n" in result["stdout"] + result["stderr"]
    await docked.run("restrain", {"one": "7 11\n\n", "two": "\n6 10\n"})
    made = (await docked.file("made.tbl")).decode()
    assert (made.count("segid A"), made.count("segid B")) == (2, 4)


WEIGHTS = {"w_elec": 0.5, "w_vdw": 2, "w_desolv": 1, "w_bsa": -0.01, "w_air": 0.1}


async def has_new_scores(docked: Docked, job_id: int) -> None:
    await docked.run("rescore", {"module_nr": 8, "capri_dir": "output/8_caprieval", **WEIGHTS}, job_id)
    models = await docked.table("output/8_caprieval_interactive/capri_ss.tsv", job_id)
    assert len(models) == MODELS
    for model in models:
        score = sum(weight * float(model[name.removeprefix("w_")]) for name, weight in WEIGHTS.items())
        assert float(model["score"]) == pytest.approx(score, abs=0.01)


async def test_new_scores(docked: Docked, visitor: BrowserContext) -> None:
    await has_new_scores(docked, docked.job_id)
    clusters = await docked.table("output/8_caprieval_interactive/capri_clt.tsv")
    await show(visitor, docked, "8_caprieval_interactive", len(clusters))


async def test_new_clusters_by_rmsd(docked: Docked, visitor: BrowserContext) -> None:
    step = {"module_nr": 7, "clustrmsd_dir": "output/7_clustrmsd"}
    made = "output/7_clustrmsd_interactive/clustrmsd.txt"
    await docked.run("reclustrmsd", {**step, "criterion": "distance", "clust_cutoff": 0, "min_population": 1})
    assert f"Total # of clusters: {MODELS}\n" in (await docked.file(made)).decode()
    await docked.run("reclustrmsd", {**step, "criterion": "maxclust", "n_clusters": 2})
    assert "Total # of clusters: 2\n" in (await docked.file(made)).decode()
    await show(visitor, docked, "7_clustrmsd_interactive", 2)


async def test_new_clusters_by_contacts(docked: Docked, visitor: BrowserContext) -> None:
    step = {"module_nr": 3, "clustfcc_dir": "output/3_clustfcc", "strictness": 0.75, "min_population": 1}
    await docked.run("reclustfcc", {**step, "clust_cutoff": 0.3})
    clusters = await docked.table("output/3_clustfcc_interactive/capri_clt.tsv")
    assert sum(int(cluster["n"]) for cluster in clusters) == MODELS
    page = await visitor.new_page()
    await page.goto(f"/api/job/{docked.job_id}/files/output/3_clustfcc_interactive/fcc_matrix.html")
    report = "output/analysis/3_clustfcc_interactive_analysis/report.html"
    await page.goto(f"/api/job/{docked.job_id}/files/{report}")
    await expect(page.locator(".js-plotly-plot .main-svg").first).to_be_visible(timeout=PATIENCE)


async def test_an_archive_of_it_is_imported(docked: Docked) -> None:
    """As the web application takes a run from elsewhere: all files are there, and it can be gone on with."""
    url = f"/api/job/{docked.job_id}/archive/output"
    archive = await docked.service.client.get(url, params={"archive_format": ".zip"}, timeout=600)
    assert archive.status_code == 200
    output = docked.service.job_dir(docked.job_id) / "output"
    kept = {str(path.relative_to(output)): path.read_bytes() for path in output.rglob("*") if path.is_file()}
    with zipfile.ZipFile(io.BytesIO(archive.content)) as unpacked:
        assert {name: unpacked.read(name) for name in unpacked.namelist() if name[-1] != "/"} == kept
    imported = await docked.service.submit_archive(archive.content, "runimport")
    assert (await docked.service.ended(imported))["state"] == "ok"
    assert await docked.file("output/5_emref/emref_1.pdb.gz", imported) == kept["5_emref/emref_1.pdb.gz"]
    await has_new_scores(docked, imported)
