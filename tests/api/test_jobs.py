"""Reading and renaming jobs."""

import asyncio
import os
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest

from api.files import open_file
from flows.errors import CommandFailed
from flows.jobs.job import State
from tests.api.conftest import Site
from tests.waiting import LONG_ENOUGH

OTHERS = ["", "/stdout", "/stderr"]


async def test_job(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    answer = (await alice.get(f"/api/job/{job.id}")).json()
    for moment in ("created_on", "updated_on"):
        assert datetime.fromisoformat(answer.pop(moment)).utcoffset() == timedelta(0)
    assert answer == {
        "id": job.id,
        "name": f"job{job.id}",
        "application": "wc",
        "state": "new",
        "submitter": "alice",
        "reason": None,
        "reason_kind": None,
        "destination": None,
        "expires_on": None,
        "pinned": False,
    }


async def test_reason(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    await site.store.fail(job.id, CommandFailed("It ended with exit code 3."))
    answer = (await alice.get(f"/api/job/{job.id}")).json()
    assert (answer["state"], answer["reason"]) == ("error", "It ended with exit code 3.")
    assert answer["reason_kind"] == "user error"


@pytest.mark.parametrize("job_id", ["0", "-1", "999999", str(2**63), "9" * 100])
@pytest.mark.parametrize("suffix", OTHERS)
async def test_no_such_job(alice: httpx.AsyncClient, job_id: str, suffix: str) -> None:
    response = await alice.get(f"/api/job/{job_id}{suffix}")
    assert response.status_code == 404
    assert isinstance(response.json()["detail"], str)


async def test_not_a_number(alice: httpx.AsyncClient) -> None:
    response = await alice.get("/api/job/one")
    assert response.status_code == 422
    assert response.json()["detail"].startswith("jobid: ")


async def test_jobs_of_others_are_not_there(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"secret", "stderr.txt": b"secret"}, username="bob")
    missing = (await alice.get("/api/job/999999")).json()["detail"].replace("999999", str(job.id))
    for suffix in OTHERS:
        response = await alice.get(f"/api/job/{job.id}{suffix}")
        assert response.status_code == 404
        assert response.json()["detail"] == missing
    assert (await alice.post(f"/api/job/{job.id}/name", json="mine")).status_code == 404
    assert (await site.store.get(job.id)).name == f"job{job.id}"
    assert (await alice.get("/api/job/")).json() == []


@pytest.mark.parametrize("route", ["/api/job/", "/api/job"])
async def test_list(site: Site, alice: httpx.AsyncClient, route: str) -> None:
    ids = [(await site.new_job()).id for _ in range(12)]
    await site.new_job("bob")

    async def listed(**params: int) -> list[int]:
        response = await alice.get(route, params=params)
        assert response.status_code == 200
        return [job["id"] for job in response.json()]

    assert await listed() == ids[:1:-1]
    assert await listed(limit=100) == ids[::-1]
    assert await listed(limit=2, offset=1) == [ids[10], ids[9]]
    assert await listed(limit=0) == []
    assert await listed(offset=100) == []


@pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=1001", "offset=-1", f"offset={2**63}"])
async def test_list_bounds(alice: httpx.AsyncClient, query: str) -> None:
    response = await alice.get(f"/api/job/?{query}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(query.partition("=")[0])


@pytest.mark.parametrize("name", ["x", "x" * 200, "Größe 📈", "two\nlines"])
async def test_rename(site: Site, alice: httpx.AsyncClient, name: str) -> None:
    job = await site.new_job()
    response = await alice.post(f"/api/job/{job.id}/name", json=name)
    assert (response.status_code, response.json()) == (200, None)
    assert (await alice.get(f"/api/job/{job.id}")).json()["name"] == name


@pytest.mark.parametrize(
    "body",
    [
        b'""',
        b'"' + b"x" * 201 + b'"',
        b'{"name": "x"}',
        b"12",
        b"",
        b"x",
        b'"a\\u0000"',
        b'"\\ud800"',
        b"\xff",
    ],
)
async def test_rename_refused(site: Site, alice: httpx.AsyncClient, body: bytes) -> None:
    job = await site.new_job()
    headers = {"Content-Type": "application/json"}
    response = await alice.post(f"/api/job/{job.id}/name", content=body, headers=headers)
    assert response.status_code == 422
    assert isinstance(response.json()["detail"], str)
    assert (await site.store.get(job.id)).name == f"job{job.id}"


@pytest.mark.parametrize("state", [State.NEW, State.QUEUED, State.RUNNING])
async def test_outputs_come_after_the_end(site: Site, alice: httpx.AsyncClient, state: State) -> None:
    job = await site.new_job()
    await site.store.advance(job.id, state)
    for name in ("stdout", "stderr"):
        response = await alice.get(f"/api/job/{job.id}/{name}")
        assert response.status_code == 425
        assert f"is {state}" in response.json()["detail"]


@pytest.mark.parametrize("content", [b"", b" 2 3 14 README.md\n", b"\xff\x00\r\n", b"x" * 1_000_003])
async def test_outputs(site: Site, alice: httpx.AsyncClient, content: bytes) -> None:
    job = await site.ended_job({"stdout.txt": content, "stderr.txt": b"other"})
    response = await alice.get(f"/api/job/{job.id}/stdout")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.headers["Content-Length"] == str(len(content))
    assert "Content-Encoding" not in response.headers
    assert response.content == content
    assert (await alice.get(f"/api/job/{job.id}/stderr")).content == b"other"


def make_link(path: Path) -> None:
    (path.parent.parent / "secret").write_text("secret")
    path.symlink_to("../secret")


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    "make", [None, make_link, make_fifo, Path.mkdir], ids=["none", "link", "fifo", "directory"]
)
async def test_output_that_is_no_file(site: Site, alice: httpx.AsyncClient, make: object) -> None:
    job = await site.ended_job({})
    if callable(make):
        make(site.job_dir(job) / "stdout.txt")
    async with asyncio.timeout(LONG_ENOUGH):
        response = await alice.get(f"/api/job/{job.id}/stdout")
    assert response.status_code == 404
    assert response.json() == {"detail": f"Job {job.id} has no stdout.txt."}


async def test_output_of_a_job_without_directory(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    await site.store.fail(job.id, CommandFailed("Too bad."))
    assert (await alice.get(f"/api/job/{job.id}/stdout")).status_code == 404


async def test_a_reader_who_goes_away_leaves_no_open_file(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"x" * 30_000_000})
    async with alice.stream("GET", f"/api/job/{job.id}/stdout") as response:
        assert response.status_code == 200
    path = site.job_dir(job) / "stdout.txt"
    async with asyncio.timeout(LONG_ENOUGH):
        while any(link.exists() and link.resolve() == path for link in Path("/proc/self/fd").iterdir()):
            await asyncio.sleep(0.05)


async def test_nothing_is_read_for_a_reader_who_went_away(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await site.ended_job({"stdout.txt": b"x" * 30_000_000})
    closed = asyncio.Event()
    loop = asyncio.get_running_loop()
    position = 0
    read, close = open_file.OpenFile.read, open_file.OpenFile.close

    def recording_read(file: open_file.OpenFile, start: int, length: int) -> bytes:
        nonlocal position
        position = start + length
        return read(file, start, length)

    def recording_close(file: open_file.OpenFile) -> None:
        close(file)
        loop.call_soon_threadsafe(closed.set)

    monkeypatch.setattr(open_file.OpenFile, "read", recording_read)
    monkeypatch.setattr(open_file.OpenFile, "close", recording_close)
    async with alice.stream("GET", f"/api/job/{job.id}/stdout"):
        pass
    await asyncio.wait_for(closed.wait(), LONG_ENOUGH)
    assert position < 30_000_000


async def test_slow_readers_hold_no_connection_to_the_database(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"x" * 30_000_000})
    readers = [await site.client() for _ in range(25)]
    requests = [reader.build_request("GET", f"/api/job/{job.id}/stdout") for reader in readers]
    answers = await asyncio.gather(*(r.send(q, stream=True) for r, q in zip(readers, requests, strict=True)))
    assert {answer.status_code for answer in answers} == {200}
    assert (await alice.get(f"/api/job/{job.id}")).status_code == 200
    await asyncio.gather(*(answer.aclose() for answer in answers))


async def test_head(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"12345"})
    for route in ("/api/health", "/api/whoami", "/api/job/", "/api/job", f"/api/job/{job.id}"):
        got, head = await alice.get(route), await alice.head(route)
        assert head.status_code == 200
        assert head.content == b""
        assert head.headers["Content-Length"] == str(len(got.content))
    head = await alice.head(f"/api/job/{job.id}/stdout")
    assert (head.status_code, head.headers["Content-Length"]) == (200, "5")
    assert (await alice.head("/api/job/999999")).status_code == 404
