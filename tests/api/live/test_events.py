"""Server-sent events of a job."""

import asyncio
import json
import os

import httpx
import pytest

from api.files import open_file
from api.live import events
from api.watching import INTERVAL
from flows.errors import CommandFailed
from flows.jobs.job import State
from tests.api.conftest import Site
from tests.api.files.opened import open_files, soon
from tests.api.live.following import Events, append, end, events_of, running_job
from tests.waiting import LONG_ENOUGH


async def test_the_states_of_a_job(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    async with events_of(alice, job) as stream:
        first = await stream.next()
        assert (first.name, first.id) == ("job", None)
        assert first.data == (await alice.get(f"/api/job/{job.id}")).json()
        await site.store.set_destination(job.id, "local")
        assert (await stream.next()).data["destination"] == "local"
        await site.store.advance(job.id, State.QUEUED, "Waiting for a free slot.")
        told = (await stream.next()).data
        assert (told["state"], told["reason"]) == ("queued", "Waiting for a free slot.")
        await site.store.explain(job.id, None)
        assert (await stream.next()).data["reason"] is None
        await site.store.rename(job.id, "Größe\n\n1")
        assert (await stream.next()).data["name"] == "Größe\n\n1"
        await site.store.fail(job.id, CommandFailed("It ended with exit code 3."))
        [last] = await stream.all()
        assert last.id == events.END
        assert last.data == (await alice.get(f"/api/job/{job.id}")).json()
        assert last.data["reason_kind"] == "user error"


async def test_changes_that_visitors_do_not_see_are_no_events(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site)
    async with events_of(alice, job) as stream:
        await stream.next()
        await site.store.explain(job.id, job.reason)
        await site.store.rename(job.id, job.name)
        await site.store.rename(job.id, "other")
        assert (await stream.next()).data["name"] == "other"


async def test_a_job_that_has_ended(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.ended_job({"stdout.txt": b"output"})
    for headers in ({}, {"Last-Event-ID": "x"}, {"Last-Event-ID": ""}, {"Last-Event-ID": "1.2-3"}):
        async with events_of(alice, job, headers=headers) as stream:
            [event] = await stream.all()
        assert (event.name, event.data["state"], event.id) == ("job", "ok", events.END)
    # Browsers connect again until they get this.
    again = await alice.get(f"/api/job/{job.id}/events", headers={"Last-Event-ID": events.END})
    assert (again.status_code, again.content) == (204, b"")


async def test_jobs_of_others(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site)
    for user, status in ((await site.client("bob"), 404), (await site.anonymous(), 403)):
        assert (await user.get(f"/api/job/{job.id}/events")).status_code == status
    assert (await alice.get("/api/job/999999/events")).status_code == 404
    url = f"/api/job/{job.id}/events?token={site.keys.token()}"
    async with (await site.anonymous()).stream("GET", url) as response:
        assert (await Events(response).next()).data["id"] == job.id


async def test_head(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site)
    response = await alice.head(f"/api/job/{job.id}/events")
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["Cache-Control"] == "no-store"


async def test_output(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stdout=b"begun\n", stderr=b"")
    async with events_of(alice, job) as stream:
        assert (await stream.next()).data["state"] == "running"
        await stream.text("begun\n")
        append(directory / "stderr.txt", b"\r\n\xff\0\n")
        await stream.text("\r\n\ufffd\0\n", "stderr")
        append(directory / "stdout.txt", "one\ntwo \U0001f4c8".encode()[:-1])
        await stream.text("one\ntwo ")
        append(directory / "stdout.txt", "\U0001f4c8".encode()[-1:] + b"three")
        await stream.text("\U0001f4c8three")
        append(directory / "stdout.txt", b"last \xe2\x82")
        await end(site, job)
        rest = await stream.all()
    text = "".join(event.data for event in rest if event.name == "stdout")
    assert text == "last \ufffd"
    assert rest[-1].data["state"] == "ok"
    await soon(lambda: not open_files(directory))


async def test_nothing_is_lost_of_much_output(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stderr=b"")
    text = "€uro\n" * 60_000
    (directory / "stdout.txt").write_text(text)
    async with events_of(alice, job) as stream:
        await stream.text(text)
        (directory / "stderr.txt").write_text(text)
        await end(site, job)
        rest = await stream.all()
    assert "".join(event.data for event in rest if event.name == "stderr") == text
    assert rest[-1].data["state"] == "ok"


@pytest.mark.parametrize("ended", [False, True])
async def test_going_on_after_an_event(site: Site, alice: httpx.AsyncClient, ended: bool) -> None:
    job, directory = await running_job(site, stdout="één ".encode(), stderr=b"a")
    async with events_of(alice, job) as stream:
        both = {event.name: event for event in [await stream.next() for _ in range(3)]}
    assert [event.data for event in both.values()][1:] == ["één ", "a"]
    append(directory / "stdout.txt", b"two")
    append(directory / "stderr.txt", b"b")
    if ended:
        await end(site, job)
    # After the event of stdout, that of stderr was not seen.
    for last, expected in ((both["stdout"], ["two", "ab"]), (both["stderr"], ["two", "b"])):
        async with events_of(alice, job, headers={"Last-Event-ID": str(last.id)}) as stream:
            news = [await stream.next() for _ in range(2 if ended else 3)]
            assert [event.data for event in news if event.name != "job"] == expected
            if ended:
                assert [event.name for event in await stream.all()] == ["job"]


async def test_only_the_last_lines(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stdout=b"1\n2\n3\n", stderr=b"4\n5")
    async with events_of(alice, job, params={"tail": 1}) as stream:
        first = [await stream.next() for _ in range(3)]
        assert [event.data for event in first[1:]] == ["3\n", "5"]
        append(directory / "stdout.txt", b"6")
        await stream.text("6")


async def test_output_before_the_command_runs_is_the_visitors(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    await site.store.set_destination(job.id, "local")
    directory = site.job_dir(job)
    directory.mkdir()
    (directory / "stdout.txt").write_text("came with the upload")
    async with events_of(alice, job) as stream:
        await site.store.advance(job.id, State.QUEUED)
        assert [(await stream.next()).name for _ in range(2)] == ["job", "job"]
        (directory / "stdout.txt").write_text("of the command")
        await site.store.advance(job.id, State.RUNNING)
        await stream.next("job")
        await stream.text("of the command")


async def test_output_of_a_job_elsewhere_comes_at_its_end(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, "elsewhere", stdout=b"half")
    async with events_of(alice, job) as stream:
        await site.store.rename(job.id, "other")
        assert [(await stream.next()).name for _ in range(2)] == ["job", "job"]
        append(directory / "stdout.txt", b" whole")
        await end(site, job)
        rest = await stream.all()
    assert [event.data for event in rest if event.name == "stdout"] == ["half whole"]
    assert rest[-1].name == "job"


async def test_files_that_are_replaced_emptied_and_moved_away(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await running_job(site, stdout=b"a long first text")
    stdout = directory / "stdout.txt"
    async with events_of(alice, job) as stream:
        await stream.text("a long first text")
        os.truncate(stdout, 0)
        append(stdout, b"second")
        await stream.text("second")
        (directory / "new").write_bytes(b"the third is another file")
        (directory / "new").rename(stdout)
        await stream.text("the third is another file")
        (directory / "output").mkdir()
        stdout.rename(directory / "output/stdout.txt")
        await site.store.rename(job.id, "moved")
        assert (await stream.next()).data["name"] == "moved"
        stdout.mkdir()
        await site.store.rename(job.id, "directory")
        assert (await stream.next()).data["name"] == "directory"
        stdout.rmdir()
        stdout.symlink_to("output/stdout.txt")
        os.mkfifo(directory / "stderr.txt")
        await site.store.rename(job.id, "link")
        assert (await stream.next()).data["name"] == "link"
        await end(site, job)
        assert {event.name for event in await stream.all()} == {"job"}


async def test_a_writer_that_never_stops_does_not_hold_the_end_up(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, directory = await running_job(site, stdout=b"x" * 100_000)
    read = open_file.OpenFile.read_at_most

    def writing_read(file: open_file.OpenFile, position: int, length: int) -> bytes:
        append(directory / "stdout.txt", b"y" * (length + 1))
        return read(file, position, length)

    async with events_of(alice, job) as stream:
        await stream.next()
        monkeypatch.setattr(open_file.OpenFile, "read_at_most", writing_read)
        await end(site, job)
        async with asyncio.timeout(LONG_ENOUGH):
            assert (await stream.all())[-1].data["state"] == "ok"


async def test_a_job_that_is_deleted(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await running_job(site)
    async with events_of(alice, job) as stream:
        await stream.next()
        assert (await alice.delete(f"/api/job/{job.id}")).status_code == 204
        [last] = await stream.all()
    assert (last.name, last.data) == ("deleted", {"detail": f"Job {job.id} was deleted."})


async def test_comments_keep_the_connection(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "KEEP_ALIVE", 0.0)
    job, _ = await running_job(site)
    async with events_of(alice, job) as stream:
        await stream.next()
        await stream.comment()
        await end(site, job)
        assert [event.name for event in await stream.all()][-1] == "job"


async def test_in_the_document(site: Site) -> None:
    document = (await (await site.anonymous()).get("/api/openapi.json")).json()
    operation = document["paths"]["/api/job/{jobid}/events"]["get"]
    assert operation["operationId"] == "retrieve_job_events"
    assert list(operation["responses"]["200"]["content"]) == ["text/event-stream"]
    assert set(operation["responses"]) >= {"200", "204", "401", "403", "404", "422", "429", "503"}
    assert {p["name"] for p in operation["parameters"]} == {"jobid", "tail", "Last-Event-ID"}
    assert json.dumps(operation).count("deleted")


async def test_a_command_that_writes_without_pause_is_read_in_pieces(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, directory = await running_job(site, stdout=b"", stderr=b"")
    reads = 0
    read = open_file.OpenFile.read_at_most

    def writing_read(file: open_file.OpenFile, position: int, length: int) -> bytes:
        nonlocal reads
        reads += 1
        append(directory / "stdout.txt", b"x")
        return read(file, position, length)

    monkeypatch.setattr(open_file.OpenFile, "read_at_most", writing_read)
    loop = asyncio.get_running_loop()
    started = loop.time()
    async with events_of(alice, job) as stream:
        while reads < 6:
            await stream.next()
    assert loop.time() - started >= INTERVAL  # without the waits it would be a few milliseconds
