"""Interactive applications, through the API."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.interactive import json_body, turns
from flows.errors import CommandFailed
from flows.jobs.job import Job, State
from flows.local.quick_commands import MAX_OUTPUT
from tests.api.conftest import Site
from tests.api.interactive.running import has_ended, is_running, run, until_exists, written
from tests.waiting import LONG_ENOUGH


@pytest.fixture
async def job(site: Site) -> Job:
    return await site.ended_job({"input.txt": b"one\n"})


async def send(
    client: httpx.AsyncClient, job: Job, body: bytes, app: str = "show", media_type: str = "application/json"
) -> httpx.Response:
    headers = {"Content-Type": media_type} if media_type else {}
    return await client.post(f"/api/job/{job.id}/interactive/{app}", content=body, headers=headers)


def assert_refused(response: httpx.Response, status: int, words: str = "") -> None:
    assert response.status_code == status, response.text
    detail = response.json()["detail"]
    assert words in detail
    assert len(detail) < 700
    assert "\n" not in detail


# What a command gets and gives


async def test_result(alice: httpx.AsyncClient, job: Job) -> None:
    response = await run(alice, job, "cat input.txt; echo two >&2; exit 3")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"returncode": 3, "stdout": "one\n", "stderr": "two\n"}


async def test_what_it_wrote_is_there_at_once(alice: httpx.AsyncClient, job: Job) -> None:
    await run(alice, job, "mkdir new && echo new > new/file.txt")
    assert (await alice.get(f"/api/job/{job.id}/files/new/file.txt")).text == "new\n"


async def test_nothing_else_is_left_in_the_directory(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    await run(alice, job, "true")
    assert [path.name for path in site.job_dir(job).iterdir()] == ["input.txt"]


async def test_values(alice: httpx.AsyncClient, job: Job) -> None:
    text = "a 'b' $(id) `id`\n\\ü\U0001f600"
    response = await send(alice, job, json.dumps({"text": text, "count": 2.50}).encode())
    assert response.json()["stdout"] == f'{text}\n2.5\ntrue\n{{"n": [1, null]}}\n'
    response = await send(alice, job, b'{"text": "", "count": 7, "fast": false, "inner": {}}')
    assert response.json()["stdout"] == "\n7\nfalse\n{}\n"


async def test_bytes_that_are_no_text(alice: httpx.AsyncClient, job: Job) -> None:
    assert (await run(alice, job, r"printf 'a\377\0b'")).json()["stdout"] == "a\ufffd\0b"


async def test_environment(
    alice: httpx.AsyncClient, site: Site, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTENDER_DB_PASS", "secret")
    answer = (await run(alice, job, "env; pwd; cat; ls -l /proc/self/fd >&2")).json()
    assert "secret" not in answer["stdout"]
    assert "BARTENDER_DB" not in answer["stdout"]
    assert f"{site.job_dir(job)}\n" in answer["stdout"]
    # Of our descriptors, none: only the three of a program and that of the directory which ls reads.
    assert answer["stderr"].count("->") == 4


async def test_a_linked_directory(alice: httpx.AsyncClient, site: Site, job: Job, tmp_path: Path) -> None:
    site.job_dir(job).rename(tmp_path / "elsewhere")
    site.job_dir(job).symlink_to(tmp_path / "elsewhere")
    assert (await run(alice, job, "cat input.txt")).json()["stdout"] == "one\n"


async def test_jobs_that_failed_too(alice: httpx.AsyncClient, site: Site) -> None:
    job = await site.new_job()
    await site.store.fail(job.id, CommandFailed("It failed."))
    assert_refused(await run(alice, job, "true"), 404, f"Job {job.id} has no files")
    site.job_dir(job).mkdir()
    assert (await run(alice, job, "echo hi")).json()["stdout"] == "hi\n"


# Who and what is refused


async def test_other_visitors(site: Site, job: Job) -> None:
    assert_refused(await run(await site.client("bob"), job, "true"), 404)
    assert (await run(await site.anonymous(), job, "true")).status_code == 403


@pytest.mark.parametrize("state", [State.NEW, State.QUEUED, State.RUNNING, State.STAGING_OUT])
async def test_before_the_end(alice: httpx.AsyncClient, site: Site, state: State) -> None:
    job = await site.new_job()
    for step in (State.QUEUED, State.RUNNING, State.STAGING_OUT):
        if state == State.NEW:
            break
        await site.store.advance(job.id, step)
        if step == state:
            break
    assert_refused(await run(alice, job, "true"), 425, str(state))


async def test_unknown_application(alice: httpx.AsyncClient, job: Job) -> None:
    assert_refused(await run(alice, job, "true", app="nope"), 422, "no interactive application 'nope'")
    assert_refused(await run(alice, job, "true", app="wc"), 422)
    assert_refused(await run(alice, job, "true", app="x" * 5000), 422)


async def test_for_jobs_of_another_application(alice: httpx.AsyncClient, job: Job) -> None:
    assert_refused(await run(alice, job, "true", app="typed"), 422, "for jobs of application 'typed'")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"text",
        b"null",
        b"[]",
        b"3",
        b'"a"',
        b"{} {}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'{"text": "a", "count": NaN}',
        b'{"text": "a", "count": Infinity}',
        b'{"text": "a", "count": 1e999}',
        b'{"text": "a", "count": ' + b"9" * 10_000 + b"}",
        b'{"text": "a"}',
        b'{"text": 1, "count": 1}',
        b'{"text": "a", "count": "1"}',
        b'{"text": "a", "count": true}',
        b'{"text": "a", "count": 1, "other": 1}',
        b'{"text": "a\\u0000b", "count": 1}',
        b'{"text": "a\0b", "count": 1}',
        b'{"text": "a\\ud800b", "count": 1}',
        b'{"text": "\xed\xa0\x80", "count": 1}',
        b'{"\\ud800": 1}',
        b'{"text": "' + b"x" * 200_000 + b'", "count": 1}',
        b'{"text": "a", "count": 1, "inner": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        b'{"text": "a", "count": 1, "inner": {"a": ' + b"[" * 190 + b"]" * 190 + b"}, " + b'"x": 1}',
        b"[" * 1_000_000,
        b'{"text": "' + b'\\"' * 4_000_000,
        b'{"text": "a", "count": 1, "inner": {"a": [' + b"1," * 3_000_000 + b"1]}}",
    ],
    ids=lambda body: repr(body[:30]),
)
async def test_bodies_that_are_refused(alice: httpx.AsyncClient, job: Job, body: bytes) -> None:
    assert_refused(await send(alice, job, body), 422)


async def test_fields_are_named(alice: httpx.AsyncClient, job: Job) -> None:
    response = await send(alice, job, b'{"text": 1, "count": "x"}')
    assert_refused(response, 422, "Field count: 'x' is not of type 'number'; Field text: 1 is not of type")


@pytest.mark.parametrize("media_type", ["", "text/plain", "application/x-www-form-urlencoded", "json"])
async def test_other_types_of_body(alice: httpx.AsyncClient, job: Job, media_type: str) -> None:
    response = await send(alice, job, b'{"text": "a", "count": 1}', media_type=media_type)
    assert_refused(response, 422, "application/json")


@pytest.mark.parametrize("media_type", ["application/json; charset=utf-8", "Application/JSON"])
async def test_types_of_json(alice: httpx.AsyncClient, job: Job, media_type: str) -> None:
    response = await send(alice, job, b'{"text": "a", "count": 1}', media_type=media_type)
    assert response.status_code == 200


async def test_large_bodies(alice: httpx.AsyncClient, job: Job) -> None:
    async def endless() -> Any:
        for _ in range(12):
            yield b" " * 1_000_000

    assert_refused(await send(alice, job, b" " * 10_000_001), 413, "10000000 bytes")
    headers = {"Content-Type": "application/json"}
    response = await alice.post(f"/api/job/{job.id}/interactive/sh", content=endless(), headers=headers)
    assert_refused(response, 413)


async def test_a_body_that_does_not_arrive(site: Site, job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "_SECONDS", 0.2)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = [
        f"POST /api/job/{job.id}/interactive/sh HTTP/1.1",
        "Host: x",
        f"Authorization: Bearer {site.keys.token()}",
        "Content-Type: application/json",
        "Content-Length: 100",
    ]
    writer.write("\r\n".join([*head, "", "{"]).encode())
    assert b" 408 " in await asyncio.wait_for(reader.readline(), LONG_ENOUGH)
    writer.close()


# How a command ends


async def test_too_slow(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    """All processes are ended, also those that left the session."""
    script = "echo $$ > a; setsid sh -c 'echo $$ > b; sleep 1000' & sleep 1000"
    while True:
        response = await run(alice, job, script, app="hasty")
        assert_refused(response, 504, "'hasty' did not end in 0.5 seconds")
        pids = [site.job_dir(job) / name for name in "ab"]
        if all(path.exists() and path.read_text() for path in pids):
            break
    for path in pids:
        await has_ended(int(path.read_text()))


async def test_what_it_left_running_is_ended(alice: httpx.AsyncClient, job: Job) -> None:
    answer = (await run(alice, job, "sleep 1000 & echo $!")).json()
    assert answer["returncode"] == 0
    await has_ended(int(answer["stdout"]))


async def test_who_holds_the_outputs_open_is_not_waited_for(alice: httpx.AsyncClient, job: Job) -> None:
    answer = (await run(alice, job, "setsid sleep 1000 & echo $!")).json()
    pid = int(answer["stdout"])
    os.kill(pid, 9)


async def test_a_command_that_kills_its_group(alice: httpx.AsyncClient, job: Job) -> None:
    response = await run(alice, job, "echo a; kill -9 0; sleep 1000")
    assert response.json() == {"returncode": -9, "stdout": "a\n", "stderr": ""}


async def test_a_visitor_who_leaves(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    running = asyncio.create_task(run(alice, job, "echo $$ > pid; sleep 1000"))
    pid = int(await written(site.job_dir(job) / "pid"))
    assert is_running(pid)
    running.cancel()
    await has_ended(pid)
    assert (await run(alice, job, "echo next")).json()["stdout"] == "next\n"


@pytest.mark.parametrize("stream", ["", " >&2"])
async def test_much_output(alice: httpx.AsyncClient, job: Job, stream: str) -> None:
    size = MAX_OUTPUT + 100_000
    answer = (await run(alice, job, f"head -c {size} /dev/zero | tr '\\0' a{stream}; exit 5")).json()
    assert answer["returncode"] == 5
    assert answer["truncated"] is True
    assert answer["stderr" if stream else "stdout"] == "a" * MAX_OUTPUT


async def test_all_of_the_output_just_below_the_limit(alice: httpx.AsyncClient, job: Job) -> None:
    answer = (await run(alice, job, f"head -c {MAX_OUTPUT} /dev/zero | tr '\\0' a")).json()
    assert answer == {"returncode": 0, "stdout": "a" * MAX_OUTPUT, "stderr": ""}


async def test_endless_output(alice: httpx.AsyncClient, job: Job) -> None:
    running = asyncio.create_task(run(alice, job, "yes", app="hasty"))
    assert (await alice.get("/api/health")).status_code == 200
    assert_refused(await running, 504)


# How many at once


async def test_one_at_a_time_for_a_job(
    alice: httpx.AsyncClient, site: Site, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = asyncio.create_task(run(alice, job, "touch first; while ! test -e go; do sleep 0.1; done"))
    await until_exists(site.job_dir(job) / "first")
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    refused = await run(alice, job, "touch second")
    assert_refused(refused, 503, "Other interactive applications are running")
    assert refused.headers["Retry-After"]
    assert not (site.job_dir(job) / "second").exists()
    other = await site.ended_job({})
    assert (await run(alice, other, "echo other")).json()["stdout"] == "other\n"
    monkeypatch.setattr(turns, "PATIENCE", 60)
    second = asyncio.create_task(run(alice, job, "test -e go && echo second"))
    (site.job_dir(job) / "go").touch()
    assert (await second).json()["stdout"] == "second\n"
    assert (await first).json()["returncode"] == 0


async def test_so_many_at_once(
    alice: httpx.AsyncClient, site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One visitor has all slots but the last, which is for others."""
    bob = await site.client("bob")
    jobs = [await site.ended_job({}) for _ in range(4)]
    bobs = [await site.ended_job({}, "bob") for _ in range(2)]
    go = tmp_path / "go"
    script = f"touch started; while ! test -e {go}; do sleep 0.1; done"
    running = [asyncio.create_task(run(alice, job, script)) for job in jobs[:3]]
    for job in jobs[:3]:
        await until_exists(site.job_dir(job) / "started")
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    refused = await run(alice, jobs[3], "true")
    assert_refused(refused, 503)
    assert refused.headers["Retry-After"]
    running.append(asyncio.create_task(run(bob, bobs[0], script)))
    await until_exists(site.job_dir(bobs[0]) / "started")
    assert_refused(await run(bob, bobs[1], "true"), 503)
    go.touch()
    assert [(await task).status_code for task in running] == [200] * 4
    assert (await run(alice, jobs[3], "true")).status_code == 200


async def test_a_line_that_is_too_long(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    """It is so for who stands in it most, not yet for others."""
    first = asyncio.create_task(run(alice, job, "while ! test -e go; do sleep 0.1; done"))
    clients = [await site.client() for _ in range(40)]
    waiting = [asyncio.create_task(run(client, job, "true")) for client in clients]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    others = await site.ended_job({}, "bob")
    assert (await run(await site.client("bob"), others, "echo bob")).json()["stdout"] == "bob\n"
    (site.job_dir(job) / "go").touch()
    assert_refused(done.pop().result(), 503, "Too many")
    for response in await asyncio.gather(first, *waiting):
        assert response.status_code in {200, 503}
    assert (await run(alice, job, "true")).status_code == 200
