"""PUT: what is accepted, and that nothing is left of what is refused."""

from typing import Any

import httpx
import pytest

from flows.jobs import State
from tests.api.conftest import README_ZIP, Site

ZIP = {"Content-Type": "application/zip"}
ROUTES = ["/api/application/wc", "/api/application/wc/job"]


def upload(content: bytes = README_ZIP) -> dict[str, Any]:
    return {"upload": ("job.zip", content, "application/x-zip-compressed")}


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", ["multipart", "bare"])
async def test_accepted(site: Site, alice: httpx.AsyncClient, route: str, form: str) -> None:
    if form == "bare":
        response = await alice.put(route, content=README_ZIP, headers=ZIP)
    else:
        response = await alice.put(route, files=upload())
    assert response.status_code == 303
    job_id = int(response.headers["Location"].removeprefix("/api/job/"))
    assert (await alice.get(response.headers["Location"])).json()["state"] == "new"
    [job] = await site.jobs()
    assert (job.id, job.state, job.command) == (job_id, State.NEW, "wc README.md")
    [path] = site.uploads()
    assert path.name == f"{job.token}.zip"
    assert path.read_bytes() == README_ZIP
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.wakings.count == 1
