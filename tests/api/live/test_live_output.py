"""Output of jobs that have not ended: its last lines, and followed as it is written."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import URL

from api.live import growing
from flows.errors import CommandFailed
from flows.jobs.job import Job, State
from tests.api.conftest import Keys, Site
from tests.api.files.opened import open_files, soon
from tests.api.live.following import append, end, own_site, running_job
from tests.waiting import LONG_ENOUGH


class Text:
    """The beginning of an answer, and the rest of it."""

    def __init__(self, response: httpx.Response) -> None:
        self._chunks = response.aiter_raw()

    async def next(self, expected: bytes) -> None:
        content = b""
        while content != expected:
            content += await anext(self._chunks)
            assert expected.startswith(content)

    async def rest(self) -> bytes:
        return b"".join([chunk async for chunk in self._chunks])


@asynccontextmanager
async def followed(
    client: httpx.AsyncClient, job: Job, name: str = "stdout", **params: Any
) -> AsyncIterator[Text]:
    params = {"follow": True, **params}
    async with client.stream("GET", f"/api/job/{job.id}/{name}", params=params) as response:
        assert response.status_code == 200
        assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "Content-Length" not in response.headers
        yield Text(response)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
async def test_follow(site: Site, alice: httpx.AsyncClient, name: str) -> None:
    job, directory = await running_job(site, stdout=b"not this", stderr=b"not this")
    path = directory / f"{name}.txt"
    path.write_bytes(b"begun\n")
    async with followed(alice, job, name) as text:
        await text.next(b"begun\n")
        append(path, b"\xe2\x82")
        await text.next(b"\xe2\x82")
        append(path, b"\xac\0\r\n")
        await text.next(b"\xac\0\r\n")
        append(path, b"x" * 1_000_000)
        await end(site, job)
        assert await text.rest() == b"x" * 1_000_000
    await soon(lambda: not open_files(directory))


async def test_follow_before_the_command_runs(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    async with followed(alice, job, tail=1) as text:
        await site.store.set_destination(job.id, "local")
        await site.store.advance(job.id, State.RUNNING)
        site.job_dir(job).mkdir()
        (site.job_dir(job) / "stdout.txt").write_bytes(b"1\n2\n")
        await text.next(b"1\n2\n")
        await site.store.fail(job.id, CommandFailed("Too bad."))
        assert await text.rest() == b""


async def test_follow_a_job_elsewhere(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, "elsewhere")
    async with followed(alice, job, tail=1) as text:
        (directory / "stdout.txt").write_bytes(b"1\n2\n")
        await end(site, job)
        assert await text.rest() == b"1\n2\n"


async def test_follow_a_job_that_has_ended(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"1\n2\n3"})
    for params, content in (
        ({"follow": True}, b"1\n2\n3"),
        ({"follow": True, "tail": 2}, b"2\n3"),
        ({"tail": 1}, b"3"),
        ({"follow": False}, b"1\n2\n3"),
    ):
        response = await alice.get(f"/api/job/{job.id}/stdout", params=params)
        assert (response.status_code, response.content) == (200, content)
        assert response.headers["Content-Length"] == str(len(content))
        missing = await alice.get(f"/api/job/{job.id}/stderr", params=params)
        assert missing.json() == {"detail": f"Job {job.id} has no stderr.txt."}
        assert missing.status_code == 404


async def test_a_command_that_moves_its_output_away(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stdout=b"begun")
    async with followed(alice, job) as text:
        await text.next(b"begun")
        (directory / "output").mkdir()
        (directory / "stdout.txt").rename(directory / "output/stdout.txt")
        await end(site, job)
        assert await text.rest() == b""


async def test_a_command_that_empties_its_output(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stdout=b"begun")
    async with followed(alice, job) as text:
        await text.next(b"begun")
        os.truncate(directory / "stdout.txt", 0)
        append(directory / "stdout.txt", b"new")
        await text.next(b"new")


async def test_a_job_that_is_deleted(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site, stdout=b"begun")
    async with followed(alice, job) as text:
        await text.next(b"begun")
        assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
        assert await text.rest() == b""


async def test_a_server_that_stops_cuts_the_answer_short(
    environment: pytest.MonkeyPatch, database_url: URL, keys: Keys, tmp_path: Path
) -> None:
    async with AsyncExitStack() as after, asyncio.timeout(LONG_ENOUGH):
        client = await after.enter_async_context(httpx.AsyncClient(timeout=LONG_ENOUGH))
        async with own_site(environment, database_url, keys, tmp_path / "data") as site:
            job, _ = await running_job(site, stdout=b"begun")
            client.base_url = httpx.URL(f"http://127.0.0.1:{site.port}")
            text = await after.enter_async_context(followed(client, job, token=keys.token()))
            await text.next(b"begun")
        with pytest.raises(httpx.RemoteProtocolError):
            await text.rest()


# The last lines


@pytest.mark.parametrize(
    ("content", "lines", "expected"),
    [
        (b"", 3, b""),
        (b"\n", 1, b"\n"),
        (b"\n\n\n", 2, b"\n\n"),
        (b"1", 1, b"1"),
        (b"1\n2\n3\n", 0, b""),
        (b"1\n2\n3\n", 1, b"3\n"),
        (b"1\n2\n3", 1, b"3"),
        (b"1\n2\n3", 2, b"2\n3"),
        (b"1\n2\n3\n", 3, b"1\n2\n3\n"),
        (b"1\n2\n3\n", 10_000, b"1\n2\n3\n"),
        (b"\xff\r\n\0\n", 1, b"\0\n"),
        (b"x" * 200_000 + b"\n" + b"y" * 200_000 + b"\n", 1, b"y" * 200_000 + b"\n"),
        (b"line\n" * 50_000, 10_000, b"line\n" * 10_000),
        (b"x" * (growing.MOST_TAIL + 1), 1, b"x" * growing.MOST_TAIL),
        (b"x\n" + b"y" * (growing.MOST_TAIL - 1), 2, b"\n" + b"y" * (growing.MOST_TAIL - 1)),
    ],
    ids=range(15),
)
async def test_tail(
    site: Site, alice: httpx.AsyncClient, content: bytes, lines: int, expected: bytes
) -> None:
    job, directory = await running_job(site, stdout=content)
    response = await alice.get(f"/api/job/{job.id}/stdout", params={"tail": lines})
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"
    assert response.content == expected
    async with followed(alice, job, tail=lines) as text:
        append(directory / "stdout.txt", b"+more")
        await text.next(expected + b"+more")


async def test_each_number_of_lines(tmp_path: Path) -> None:
    # Lines of all lengths, so that blocks begin and end anywhere in them.
    lines = [b"x" * (n * 37 % 5000) + b"\n" for n in range(300)]
    (tmp_path / "f").write_bytes(b"".join(lines))
    for count in range(301):
        position = growing.tail_start(tmp_path, "f", count)
        piece = growing.read_on(tmp_path, "f", position, growing.MOST_TAIL)
        assert piece.content == b"".join(lines[300 - count :])


@pytest.mark.parametrize("query", ["tail=-1", "tail=10001", "tail=x", "follow=maybe"])
async def test_parameters_that_are_refused(site: Site, alice: httpx.AsyncClient, query: str) -> None:
    job, _ = await running_job(site)
    response = await alice.get(f"/api/job/{job.id}/stdout?{query}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(query.partition("=")[0])


async def test_tail_of_what_is_not_here(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    site.job_dir(job).mkdir()
    (site.job_dir(job) / "stdout.txt").write_text("came with the upload")
    for state in (State.NEW, State.QUEUED):
        if state is State.QUEUED:
            await site.store.set_destination(job.id, "local")
            await site.store.advance(job.id, state)
        response = await alice.get(f"/api/job/{job.id}/stdout?tail=1")
        assert response.status_code == 425
        assert response.json() == {"detail": f"Job {job.id} is {state}; it has no output yet."}
    away, _ = await running_job(site, "elsewhere", stdout=b"half")
    response = await alice.get(f"/api/job/{away.id}/stdout?tail=1")
    assert response.status_code == 425
    assert "follow=true waits" in response.json()["detail"]
    running, _ = await running_job(site)
    assert (await alice.get(f"/api/job/{running.id}/stdout?tail=1")).status_code == 404


async def test_without_parameters_output_comes_after_the_end(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site, stdout=b"begun")
    response = await alice.get(f"/api/job/{job.id}/stdout")
    assert response.status_code == 425
    assert response.json()["detail"].endswith("its output can be read once it has ended.")


@pytest.mark.parametrize("query", ["tail=1", "follow=true", "follow=true&tail=1"])
async def test_jobs_of_others(site: Site, alice: httpx.AsyncClient, query: str) -> None:
    job, _ = await running_job(site, stdout=b"secret")
    for user, status in ((await site.client("bob"), 404), (await site.anonymous(), 403)):
        assert (await user.get(f"/api/job/{job.id}/stdout?{query}")).status_code == status
    head = await alice.head(f"/api/job/{job.id}/stdout?{query}")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize("kind", ["link", "pipe", "directory", "nothing"])
async def test_output_that_is_no_file(site: Site, alice: httpx.AsyncClient, kind: str) -> None:
    job, directory = await running_job(site)
    path = directory / "stdout.txt"
    (directory.parent / "secret").write_text("secret")
    if kind == "link":
        path.symlink_to("../secret")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "directory":
        path.mkdir()
    assert (await alice.get(f"/api/job/{job.id}/stdout?tail=1")).status_code == 404
    async with followed(alice, job, tail=1) as text:
        await end(site, job)
        assert await text.rest() == b""


async def test_a_follower_who_goes_away_makes_room(
    environment: pytest.MonkeyPatch, database_url: URL, keys: Keys, tmp_path: Path
) -> None:
    environment.setenv("BARTENDER_MAX_STREAMS", "1")
    async with own_site(environment, database_url, keys, tmp_path / "data") as site:
        job, _ = await running_job(site, stdout=b"begun")
        client = await site.client()
        async with followed(client, job):
            assert (await client.get(f"/api/job/{job.id}/stdout?follow=true")).status_code == 503
            # The last lines are no stream.
            assert (await client.get(f"/api/job/{job.id}/stdout?tail=1")).content == b"begun"
        async with asyncio.timeout(LONG_ENOUGH):
            while (await client.head(f"/api/job/{job.id}/stdout?follow=true")).status_code != 200:
                await asyncio.sleep(0.05)


async def test_in_the_document(site: Site) -> None:
    document = (await (await site.anonymous()).get("/api/openapi.json")).json()
    for name in ("stdout", "stderr"):
        operation = document["paths"][f"/api/job/{{jobid}}/{name}"]["get"]
        assert operation["operationId"] == f"retrieve_job_{name}"
        parameters = {p["name"]: p for p in operation["parameters"]}
        assert set(parameters) == {"jobid", "follow", "tail"}
        assert parameters["follow"]["schema"]["default"] is False
        assert set(operation["responses"]) >= {"200", "404", "425", "429", "503"}
        assert list(operation["responses"]["200"]["content"]) == ["text/plain"]
