"""The route that docs/new-route.md shows."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sqlalchemy import URL

from api.app import create_app
from flows.database.pool import Pool
from flows.plugins import import_object
from tests import howto
from tests.all_jobs import AllJobs
from tests.api.conftest import Keys, Site, Wakings, no_workers, serving


async def test_word_for_word(
    environment: pytest.MonkeyPatch, database_url: URL, pool: Pool, keys: Keys, tmp_path: Path
) -> None:
    environment.setenv("BARTENDER_DB_DSN", database_url.render_as_string(hide_password=False))
    app = create_app(open_workers=no_workers)
    app.include_router(import_object(f"{howto.write('new-route.md', tmp_path)}:router", tmp_path))
    async with serving(app) as port, AsyncExitStack() as stack:
        site = Site(port, keys, AllJobs(pool), tmp_path / "data", Wakings())
        site.stack = stack
        alice, bob = await site.client("alice"), await site.client("bob")
        job, other = await site.ended_job({"stdout.txt": b"123", "b": b"45"}), await site.new_job()
        answer = await alice.get(f"/api/job/{job.id}/size")
        assert (answer.status_code, answer.json()) == (200, {"size": 5})
        assert (await bob.get(f"/api/job/{job.id}/size")).status_code == 404
        assert (await alice.get(f"/api/job/{other.id}/size")).status_code == 425
        document = (await alice.get("/api/openapi.json")).json()
        assert document["paths"]["/api/job/{jobid}/size"]["get"]["operationId"] == "job_size"
