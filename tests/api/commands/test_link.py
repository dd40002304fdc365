"""`bartender link` and `bartender generate-token` as commands."""

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from api.commands import link
from api.tokens.keys import load_public_key
from flows.disk.places import Place
from flows.errors import ConfigurationError, Unavailable
from flows.jobs.store import JobStore
from tests.api.conftest import Keys, Site


@pytest.fixture
def own(site: Site, tmp_path: Path) -> dict[str, str]:
    """The environment of a shell beside the running server."""
    url = site.store.pool.url.set(drivername="postgresql")
    return {
        **{
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("BARTENDER_", "PREFECT_"))
        },
        "BARTENDER_DB_DSN": url.render_as_string(hide_password=False),
        "BARTENDER_CONFIG_FILENAME": str(site.data_dir.parent / "config.yaml"),
        "BARTENDER_DATA_DIR": str(site.data_dir),
    }


async def bartender(environment: dict[str, str], cwd: Path, *arguments: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("bartender"),
        *arguments,
        cwd=cwd,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(), errors.decode()


@pytest.fixture
def finished(tmp_path: Path) -> Path:
    directory = tmp_path / "my run"
    directory.mkdir()
    for name, content in {"stdout.txt": "out", "stderr.txt": "err", "returncode": "0"}.items():
        (directory / name).write_text(content)
    return directory


async def test_link(
    site: Site, alice: httpx.AsyncClient, own: dict[str, str], finished: Path, tmp_path: Path
) -> None:
    arguments = ("--submitter", "alice", "--application", "wc")
    status, output, errors = await bartender(own, tmp_path, "link", finished.name, *arguments)
    assert (status, errors) == (0, "")
    job = (await alice.get(f"/api/job/{int(output)}")).json()
    assert (job["name"], job["state"], job["application"]) == ("my run", "ok", "wc")
    assert (job["submitter"], job["reason"]) == ("alice", None)
    assert site.job_dir(await site.store.get(job["id"])).readlink() == finished
    assert (await alice.get(f"/api/job/{job['id']}/stdout")).text == "out"
    assert not await site.store.without_flow_run(limit=10)
    bob = await site.client("bob")
    assert (await bob.get(f"/api/job/{job['id']}")).status_code == 404


@pytest.mark.parametrize("query", ["", "?tail=5", "?follow=true"])
async def test_outputs_that_a_linked_job_does_not_have_are_empty(
    alice: httpx.AsyncClient, own: dict[str, str], finished: Path, tmp_path: Path, query: str
) -> None:
    (finished / "stdout.txt").unlink()
    (finished / "stderr.txt").unlink()
    os.mkfifo(finished / "stderr.txt")
    status, output, _ = await bartender(own, tmp_path, "link", finished.name, "--submitter", "alice")
    assert status == 0
    response = await alice.get(f"/api/job/{int(output)}/stdout{query}")
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert (await alice.get(f"/api/job/{int(output)}/stderr{query}")).status_code == 404


async def test_defaults_are_those_of_the_original(site: Site, own: dict[str, str], finished: Path) -> None:
    config = own.pop("BARTENDER_CONFIG_FILENAME")
    status, output, _ = await bartender(own, finished, "link", str(finished), "--config", config)
    assert status == 0
    job = await site.store.get(int(output))
    assert (job.submitter, job.application) == ("someone", "ln")


async def test_what_is_refused(site: Site, own: dict[str, str], finished: Path, tmp_path: Path) -> None:
    job = await site.ended_job({})
    refused = {
        ("missing",): "missing: is not a directory",
        (str(finished / "stdout.txt"),): "is not a directory",
        (str(site.data_dir),): "is or holds what Bartender keeps",
        (str(site.data_dir.parent),): "is or holds what Bartender keeps",
        (str(site.job_dir(job)),): "is or holds what Bartender keeps",
        ("/",): "is or holds what Bartender keeps",
        (str(finished), "--submitter", ""): "is not a name",
        (str(finished), "--application", "a\nb"): "is not a name",
        (str(finished), "--config", "missing.yaml"): "missing.yaml: there is no such file",
    }
    before = sorted((site.data_dir / "jobs").iterdir())
    for arguments, words in refused.items():
        status, output, errors = await bartender(own, tmp_path, "link", *arguments)
        assert (status, output) == (2, "")
        assert words in errors
        assert len(errors.splitlines()) == 1
    assert sorted((site.data_dir / "jobs").iterdir()) == before
    assert not await site.jobs("someone")


async def test_a_database_that_is_not_there(own: dict[str, str], finished: Path, tmp_path: Path) -> None:
    nowhere = own | {"BARTENDER_DB_DSN": f"postgresql://user@/base?host={tmp_path}"}
    status, _, errors = await bartender(nowhere, tmp_path, "link", str(finished))
    assert (status, len(errors.splitlines())) == (2, 1)
    del own["BARTENDER_DB_DSN"]
    status, _, errors = await bartender(own, tmp_path, "link", str(finished))
    assert (status, len(errors.splitlines())) == (2, 1)
    assert "BARTENDER_DB_HOST is not set and no server runs in" in errors


async def generated(keys: Keys, tmp_path: Path, *arguments: str) -> str:
    status, output, errors = await bartender(
        {**os.environ}, tmp_path, "generate-token", "--private-key", str(keys.private), *arguments
    )
    assert (status, errors) == (0, "")
    return output.strip()


async def test_generate_token(keys: Keys, tmp_path: Path) -> None:
    key = load_public_key(keys.public, ["RS256"]).key
    claims = jwt.decode(await generated(keys, tmp_path), key, algorithms=["RS256"])
    assert (claims["sub"], claims["roles"], claims["iss"]) == ("someone", [], "bartendercli")
    assert claims["exp"] - claims["iat"] == 3600
    options = ("--username", "me", "--lifetime", "5", "--issuer", "us", "--oformat", "header", "--roles", "a")
    for roles in (("--roles", "b"), ("b",)):
        header, _, token = (await generated(keys, tmp_path, *options, *roles)).rpartition(" ")
        assert header == "Authorization: Bearer"
        claims = jwt.decode(token, key, algorithms=["RS256"])
        assert (claims["sub"], claims["roles"], claims["iss"]) == ("me", ["a", "b"], "us")
        assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    "arguments",
    [
        ("--lifetime", "0"),
        ("--lifetime", "1" * 30),
        ("--oformat", "json"),
        ("--username", ""),
        ("--roles", "a\nb"),
        ("me",),
    ],
    ids=str,
)
async def test_no_token(keys: Keys, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    arguments = ("generate-token", "--private-key", str(keys.private), *arguments)
    status, output, errors = await bartender({**os.environ}, tmp_path, *arguments)
    assert (status, output) == (2, "")
    assert "Traceback" not in errors


@pytest.mark.parametrize("written", [True, False])
async def test_an_answer_that_is_lost(
    site: Site, finished: Path, monkeypatch: pytest.MonkeyPatch, written: bool
) -> None:
    """The job may be there, or come to be: its directory stays."""
    add = JobStore.add_completed

    async def then_break(store: JobStore, **values: Any) -> None:
        if written:
            await add(store, **values)
        raise Unavailable("The database does not answer.") from ConnectionResetError()

    monkeypatch.setattr(JobStore, "add_completed", then_break)
    place = Place(site.data_dir, site.data_dir / "jobs")
    if written:
        job_id = await link._add(JobStore(site.store.pool), finished, place, "alice", "wc")
        assert [job.id for job in await site.jobs()] == [job_id]
    else:
        with pytest.raises(ConfigurationError, match=r"look whether job \d+ is there"):
            await link._add(JobStore(site.store.pool), finished, place, "alice", "wc")
    assert [path.resolve() for path in place.job_root.iterdir()] == [finished]
