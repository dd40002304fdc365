"""Interactive applications that are not waited for: they go on, and their results are kept."""

import asyncio
import signal
from pathlib import Path

import httpx
import pytest

from api.interactive import kept, turns
from flows.disk import private_files
from flows.jobs.job import Job
from tests.api.conftest import Site
from tests.api.interactive.running import has_ended, is_running, run, until_exists, written
from tests.api.processes import client_of, second_process
from tests.e2e.service import until

SLOW = "echo $$ >> began; while ! test -e go; do sleep 0.05; done; echo done"


@pytest.fixture
async def job(site: Site) -> Job:
    return await site.ended_job({"input.txt": b"one\n"})


async def at_once(client: httpx.AsyncClient, job: Job, script: str, app: str = "lasting") -> httpx.Response:
    headers = {"Prefer": "return=minimal, Respond-Async; wait=10"}
    return await client.post(f"/api/job/{job.id}/interactive/{app}", json={"script": script}, headers=headers)


async def ended(client: httpx.AsyncClient, location: str) -> httpx.Response:
    """Return the answer once it is not that the command runs."""

    async def answer() -> httpx.Response | None:
        response = await client.get(location)
        return None if response.status_code == 425 else response

    response: httpx.Response = await until(answer)
    return response


async def begun(site: Site, job: Job, times: int = 1) -> list[int]:
    async def pids() -> list[int]:
        path = site.job_dir(job) / "began"
        found = [int(line) for line in path.read_text().split()] if path.exists() else []
        return found if len(found) >= times else []

    found: list[int] = await until(pids)
    return found


async def test_a_slow_command_goes_on(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    late = await run(alice, job, SLOW, app="lasting")
    assert late.status_code == 504
    location = late.headers["Location"]
    assert location.startswith(f"/api/job/{job.id}/interactive/lasting/")
    assert late.json()["detail"] == (
        "Interactive application 'lasting' did not end in 0.5 seconds. "
        f"It goes on: its result will be at {location}."
    )
    waiting = await alice.get(location)
    assert waiting.status_code == 425
    assert "not ended yet" in waiting.json()["detail"]
    [pid] = await begun(site, job)
    assert is_running(pid)
    (site.job_dir(job) / "go").touch()
    result = await ended(alice, location)
    assert (result.status_code, result.json()) == (200, {"returncode": 0, "stdout": "done\n", "stderr": ""})


async def test_the_next_command_waits_for_it(
    alice: httpx.AsyncClient, site: Site, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    await run(alice, job, SLOW, app="lasting")
    monkeypatch.setattr(turns, "PATIENCE", 0.2)
    assert (await run(alice, job, "touch early")).status_code == 503
    assert not (site.job_dir(job) / "early").exists()
    monkeypatch.setattr(turns, "PATIENCE", 60)
    following = asyncio.create_task(run(alice, job, "test -e go && echo next"))
    queued = await at_once(alice, job, "test -e go && echo queued")
    assert queued.status_code == 202
    (site.job_dir(job) / "go").touch()
    assert (await following).json()["stdout"] == "next\n"
    assert (await ended(alice, queued.headers["Location"])).json()["stdout"] == "queued\n"


async def test_a_visitor_who_does_not_want_to_wait(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    response = await at_once(
        alice, job, "echo $$ > pid; while ! test -e go; do sleep 0.05; done; exit 3", "sh"
    )
    assert (response.status_code, response.content) == (202, b"")
    assert response.headers["Preference-Applied"] == "respond-async"
    await until_exists(site.job_dir(job) / "pid")
    (site.job_dir(job) / "go").touch()
    result = await ended(alice, response.headers["Location"])
    assert result.json() == {"returncode": 3, "stdout": "", "stderr": ""}
    again = await at_once(alice, job, "true", app="nope")
    assert again.status_code == 422


async def test_mistakes_are_told_at_once(alice: httpx.AsyncClient, job: Job) -> None:
    headers = {"Prefer": "respond-async"}
    for values in ({"text": 1, "count": 1}, {"text": "a\0", "count": 1}):
        response = await alice.post(f"/api/job/{job.id}/interactive/show", json=values, headers=headers)
        assert response.status_code == 422


async def test_the_same_values_again(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    """They wait for the one that runs, and then have its result; other values do not."""
    location = (await run(alice, job, SLOW, app="lasting")).headers["Location"]
    again = await run(alice, job, SLOW, app="lasting")
    assert (again.status_code, again.headers["Location"]) == (504, location)
    (site.job_dir(job) / "go").touch()
    await ended(alice, location)
    assert (await run(alice, job, SLOW, app="lasting")).json()["stdout"] == "done\n"
    assert (await at_once(alice, job, SLOW)).headers["Location"] == location
    assert len(await begun(site, job)) == 1
    assert (await run(alice, job, SLOW, app="sh")).json()["stdout"] == "done\n"  # another application
    assert len(await begun(site, job)) == 2
    other = await site.ended_job({"go": b""})
    assert (await run(alice, other, SLOW, app="lasting")).json()["stdout"] == "done\n"
    assert len(await begun(site, other)) == 1


@pytest.mark.parametrize("change", ["new", "input.txt", "go"])
async def test_the_same_values_after_a_change(
    alice: httpx.AsyncClient, site: Site, job: Job, change: str
) -> None:
    location = (await run(alice, job, SLOW, app="lasting")).headers["Location"]
    (site.job_dir(job) / "go").touch()
    await ended(alice, location)
    if change == "go":
        (site.job_dir(job) / "go").unlink()
        (site.job_dir(job) / "go").touch()
    else:
        (site.job_dir(job) / change).write_text("changed\n")
    await run(alice, job, SLOW, app="lasting")
    assert len(await begun(site, job, 2)) == 2
    assert (await ended(alice, location)).json()["stdout"] == "done\n"


async def test_what_is_waited_for_is_run_each_time(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    for number in (1, 2):
        assert (await run(alice, job, "echo x >> log; cat log", app="sh")).json()["stdout"] == "x\n" * number


async def test_its_own_bound(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    late = await run(alice, job, SLOW, app="stopped")
    assert late.status_code == 504
    result = await ended(alice, late.headers["Location"])
    assert result.status_code == 504
    assert "Location" not in result.headers
    assert "'stopped' did not end in 1 seconds and was stopped" in result.json()["detail"]
    for pid in await begun(site, job):
        await has_ended(pid)
    again = await run(alice, job, SLOW, app="stopped")
    assert again.headers["Location"] != late.headers["Location"]


async def test_who_sees_results(alice: httpx.AsyncClient, site: Site, job: Job) -> None:
    location = (await at_once(alice, job, "echo secret")).headers["Location"]
    assert (await ended(alice, location)).json()["stdout"] == "secret\n"
    assert (await (await site.client("bob")).get(location)).status_code == 404
    assert (await (await site.anonymous()).get(location)).status_code == 403
    other = await site.ended_job({})
    for wrong in (
        location.replace(f"job/{job.id}/", f"job/{other.id}/"),
        location.replace("lasting", "sh"),
        location[:-1] + "*",
        location + "0",
        location[:-32] + "0" * 32,
    ):
        response = await alice.get(wrong)
        assert response.status_code == 404, wrong
        assert len(response.json()["detail"]) < 300


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_end_of_a_process(site: Site, tmp_path: Path, job: Job, number: signal.Signals) -> None:
    """Another process has what ended, knows what runs, and says of the rest that it is lost."""
    alice = await site.client()
    async with second_process(site, tmp_path) as process:
        other = await client_of(site, process)
        first = (await at_once(other, job, "echo one")).headers["Location"]
        assert (await ended(alice, first)).json()["stdout"] == "one\n"
        location = (await run(other, job, SLOW, app="lasting")).headers["Location"]
        assert (await alice.get(location)).status_code == 425
        assert (await run(alice, job, SLOW, app="lasting")).headers["Location"] == location
        [pid] = await begun(site, job)
        await process.end(number)
    await has_ended(pid)
    lost = await ended(alice, location)
    assert lost.status_code == 410
    assert lost.json()["detail"] == "The server was stopped before the command ended; send the values again."
    assert (await ended(alice, first)).json()["stdout"] == "one\n"
    (site.job_dir(job) / "go").touch()
    assert (await run(alice, job, SLOW, app="lasting")).json()["stdout"] == "done\n"


async def test_results_are_bounded(
    alice: httpx.AsyncClient, site: Site, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "MOST", 3)
    locations = []
    for number in range(5):
        locations.append((await at_once(alice, job, f"echo {number}")).headers["Location"])
        assert (await ended(alice, locations[-1])).status_code == 200
    answers = [(await alice.get(location)).status_code for location in locations]
    assert answers == [404, 200, 200, 200, 200]  # the last came after the others were looked through
    bob, others = await site.client("bob"), await site.ended_job({}, "bob")
    theirs = (await at_once(bob, others, "echo bob")).headers["Location"]
    assert (await ended(bob, theirs)).status_code == 200
    for number in range(5, 10):
        locations.append((await at_once(alice, job, f"echo {number}")).headers["Location"])
        assert (await ended(alice, locations[-1])).status_code == 200
    assert (await bob.get(theirs)).status_code == 200  # who has most, loses theirs
    monkeypatch.setattr(kept, "SECONDS", -1)
    (await at_once(alice, job, "true")).raise_for_status()
    assert [(await alice.get(location)).status_code for location in locations] == [404] * 10


async def test_a_disk_that_is_full(
    alice: httpx.AsyncClient, site: Site, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be kept does not go on."""

    def full(path: Path, text: str) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(private_files, "write", full)
    response = await run(alice, job, "echo $$ > pid; sleep 1000", app="lasting")
    assert response.status_code == 507
    await has_ended(int(await written(site.job_dir(job) / "pid")))
