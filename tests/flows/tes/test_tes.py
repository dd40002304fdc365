"""The scheduler ``tes`` against a server whose tasks are containers."""

import asyncio
import uuid
from dataclasses import replace

import pytest
import tes

from flows.destinations.scheduler import Listed, Scheduler, Shared, Status
from flows.errors import DestinationFailed, DestinationRefused, JobCancelled, TimeLimitExceeded, Unavailable
from tests.flows.submitting import statuses
from tests.flows.tes.conftest import Saved
from tests.flows.tes.jobs import INSTALLATION, Destination, first
from tests.services.tes import TOKEN, TesServer
from tests.waiting import until, until_it_works


async def test_a_command_runs_in_a_container(destination: Destination, scheduler: Scheduler) -> None:
    text = "x" * 200_000  # longer than the content of one file may be
    end, directory = await destination.run(scheduler, f"cat <<'END'\n{text}ü\nEND\necho problem >&2; exit 3")
    assert end == 3
    assert (directory / "stdout.txt").read_text() == f"{text}ü\n"
    assert (directory / "stderr.txt").read_text() == "problem\n"
    assert (directory / "returncode").read_text() == "3"


async def test_states_come_in_order(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer
) -> None:
    go = tes_server.shared / uuid.uuid4().hex
    with tes_server.with_file("hold"):
        job = await destination.staged(f"while [ ! -e {go} ]; do sleep 0.05; done")
        scheduler_id = await scheduler.submit(job)
        assert await first(scheduler, scheduler_id) == Status(state="queued")
    seen = []
    async for status in scheduler.watch(scheduler_id):
        seen.append(status.state)
        if status.state == "running":
            go.touch()
    assert [state for n, state in enumerate(seen) if state not in seen[:n]] == ["queued", "running", "ended"]


async def test_the_time_limit(destination: Destination) -> None:
    scheduler = destination.scheduler(time_limit=1)
    end, _ = await destination.run(scheduler, "sleep 1000")
    assert isinstance(end, TimeLimitExceeded)
    await scheduler.close()


async def test_cancel_while_it_waits_and_while_it_runs(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer
) -> None:
    began = tes_server.shared / uuid.uuid4().hex
    job = await destination.staged(f"touch {began}; sleep 1000")
    with tes_server.with_file("hold"):
        waiting = await scheduler.submit(await destination.staged(f"touch {began}"))
        await scheduler.cancel(waiting)
        assert isinstance((await statuses(scheduler, waiting))[-1].failure, JobCancelled)
    assert not began.exists()
    running = await scheduler.submit(job)
    await until(began.exists)
    await scheduler.cancel(running)
    assert isinstance((await statuses(scheduler, running))[-1].failure, JobCancelled)
    await scheduler.cancel(running)
    await scheduler.cancel(str(uuid.uuid4()))  # of what was never submitted


@pytest.mark.parametrize("version", ["1.0", "1.1"])
async def test_a_server_that_dies_before_it_answers_has_the_job_once(
    destination: Destination, tes_server: TesServer, version: str
) -> None:
    ledger = tes_server.shared / uuid.uuid4().hex
    job = await destination.staged(f"echo ran >>{ledger}")
    first_process, second = destination.scheduler(), destination.scheduler()
    before = tes_server.tasks()
    with tes_server.with_file("version", version):
        with tes_server.with_file("lose", "POST"), pytest.raises(Unavailable):
            await first_process.submit(job)
        await asyncio.to_thread(tes_server.start_again)
        scheduler_id = await until_it_works(lambda: second.submit(job))
        assert await first_process.submit(job) == scheduler_id
        assert await destination.end(second, job, scheduler_id) == 0
        assert await second.submit(job) == scheduler_id
    assert ledger.read_text() == "ran\n"
    assert tes_server.tasks() == before + 1
    await first_process.close()
    await second.close()


async def test_submissions_that_are_killed_anywhere(destination: Destination, tes_server: TesServer) -> None:
    before, killed, other = tes_server.tasks(), destination.scheduler(), destination.scheduler()
    with tes_server.with_file("hold"):
        jobs = [await destination.staged("true") for _ in range(6)]
        for number, job in enumerate(jobs):
            submitting = asyncio.create_task(killed.submit(job))
            await asyncio.sleep(0.01 * number)
            submitting.cancel()
            await asyncio.gather(submitting, return_exceptions=True)
        ids = [await until_it_works(lambda job=job: other.submit(job)) for job in jobs]  # type: ignore[misc]
        assert tes_server.tasks() == before + len(jobs)
        for scheduler_id in ids:
            await other.cancel(scheduler_id)
    await killed.close()
    await other.close()


async def test_a_server_that_is_away_for_a_while(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer
) -> None:
    go = tes_server.shared / uuid.uuid4().hex
    job = await destination.staged(f"while [ ! -e {go} ]; do sleep 0.05; done; exit 5")
    scheduler_id = await scheduler.submit(job)
    with tes_server.away():
        for ask in (scheduler.check, lambda: first(scheduler, scheduler_id)):
            with pytest.raises(Unavailable, match="cannot be reached"):
                await ask()
        go.touch()
    end = await until_it_works(lambda: destination.end(scheduler, job, scheduler_id))
    assert end == 5


@pytest.mark.parametrize("status", [200, 302, 429, 500, 503])
async def test_answers_that_may_pass(scheduler: Scheduler, tes_server: TesServer, status: int) -> None:
    with tes_server.with_file("faults", f"{status}"), pytest.raises(Unavailable):
        await scheduler.check()
    await scheduler.check()


async def test_a_token_that_expires_in_mid_job(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer, saved: Saved
) -> None:
    with tes_server.with_file("hold"):
        scheduler_id = await scheduler.submit(await destination.staged("true"))
        tes_server.token = "new"
        try:
            for _ in range(2):
                with pytest.raises(Unavailable, match="refuses the login of the block tes: save it"):
                    await first(scheduler, scheduler_id)
            saved.credentials = tes_server.credentials("new")
            assert (await until_it_works(lambda: first(scheduler, scheduler_id))).state == "queued"
            await scheduler.cancel(scheduler_id)
        finally:
            tes_server.token = TOKEN


async def test_one_question_for_a_hundred_jobs(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer
) -> None:
    assert isinstance(scheduler, Shared)
    with tes_server.with_file("hold"):
        job = await destination.staged("true")
        jobs = [await destination.staged("true") for _ in range(3)] + [
            replace(job, token=str(uuid.uuid4())) for _ in range(97)
        ]
        ids = await asyncio.gather(*(scheduler.submit(one) for one in jobs))
        before = len(tes_server.requests("GET"))
        states = await asyncio.gather(*(first(scheduler, scheduler_id) for scheduler_id in ids))
        assert {status.state for status in states} == {"queued"}
        assert len(tes_server.requests("GET")) - before == 1
        under_way = await scheduler.under_way()
        ours = Listed(scheduler_id=ids[0].partition(":")[0], token=jobs[0].token, installation=INSTALLATION)
        assert ours in under_way
        await scheduler.end([one.scheduler_id for one in under_way])
        assert await scheduler.under_way() == []


async def test_what_goes_wrong_in_the_container_is_said(
    destination: Destination, seaweedfs: object, tes_server: TesServer
) -> None:
    scheduler = destination.scheduler(image="localhost/no-such-image")
    end, _ = await destination.run(scheduler, "true")
    assert isinstance(end, DestinationFailed)
    assert "no-such-image" in str(end)
    await scheduler.close()


async def test_a_task_that_is_lost_ends_and_one_that_is_refused_never_begins(
    destination: Destination, scheduler: Scheduler
) -> None:
    [end] = await statuses(scheduler, f"nothing:{uuid.uuid4()}")
    assert isinstance(end.failure, DestinationFailed)
    refused = destination.scheduler(zones=["x"], backend_parameters={"a": "b"}, cpus=1)
    job = await destination.staged("true")
    await refused.close()
    with pytest.raises(DestinationRefused, match="no UTF-8"):
        await scheduler.submit(replace(job, command="echo \udcff"))


async def test_a_task_of_which_there_is_nothing_new_is_not_lost(
    destination: Destination, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = destination.scheduler(lost_after=0.01, poll_interval=0.02)
    said = iter(["UNKNOWN", "CANCELING", "UNKNOWN", "UNKNOWN"])

    async def states(_server: object, ids: set[str]) -> dict[str, str]:
        return dict.fromkeys(ids, next(said, "COMPLETE"))

    async def task(_server: object, _id: str, _view: str) -> dict[str, str]:
        return {"state": "COMPLETE"}

    monkeypatch.setattr("flows.tes.server.Server.states", states)
    monkeypatch.setattr("flows.tes.server.Server.task", task)
    *_, end = await statuses(scheduler, f"some:{uuid.uuid4()}")
    await scheduler.close()
    assert (end.state, end.failure) == ("ended", None)


async def test_an_independent_client_reads_our_tasks(
    destination: Destination, scheduler: Scheduler, tes_server: TesServer
) -> None:
    with tes_server.with_file("hold"):
        job = await destination.staged("true")
        scheduler_id = await scheduler.submit(job)
        client = tes.HTTPClient(f"http://127.0.0.1:{tes_server.port}", token=TOKEN)
        task = await asyncio.to_thread(client.get_task, scheduler_id.partition(":")[0], "FULL")
        assert task.is_valid()[0]
        assert task.tags["bartender-token"] == job.token
        await scheduler.cancel(scheduler_id)
        assert (await asyncio.to_thread(client.get_task, task.id)).state == "CANCELED"
