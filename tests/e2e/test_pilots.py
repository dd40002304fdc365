"""Jobs from a visitor to a pilot and back: by a shared disk, and by HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from prefect.client.orchestration import PrefectClient

from tests.e2e.service import Service, appears
from tests.flows.submitting import has_ended
from tests.pilots import Pilot
from tests.waiting import until


def pilot_key(service: Service, destination: str) -> str:
    command = service.command("pilot-key", destination)
    return command.communicate()[0].decode().strip()


@pytest_asyncio.fixture(scope="module")
async def pilots(service: Service, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[list[Pilot]]:
    """One for each destination; that of `far` has files of its own."""
    key = await asyncio.to_thread(pilot_key, service, "far")
    far = {"BARTENDER_API_URL": service.url, "BARTENDER_PILOT_KEY": key}
    started = []
    for name, more in (("lab", {}), ("far", far)):
        await pool_is_there(service, name)
        environment = {**service.environment, **more}
        directory = tmp_path_factory.mktemp(name)
        started.append(Pilot(directory, environment, "--work-pool", name, "--max-jobs=4").start())
    yield started
    for pilot in started:
        await asyncio.to_thread(pilot.end)


async def pool_is_there(service: Service, name: str) -> None:
    """The worker makes it when it looks at its destinations, or has a job for it."""
    job = await service.submit({"script.sh": "true", name: ""})
    await service.state_is(job, "queued", "running", "ok")


async def run(
    service: Service, destination: str, script: str, **files: str
) -> tuple[dict[str, object], Path]:
    job = await service.submit({"script.sh": script, destination: "", **files})
    return await service.ended(job), service.job_dir(job)


async def test_a_job_on_a_shared_disk(service: Service, pilots: list[Pilot]) -> None:
    job, directory = await run(service, "lab", "pwd; echo $((40 + 2)) >answer.txt")
    assert (job["state"], job["destination"]) == ("ok", "lab")
    assert (directory / "stdout.txt").read_text() == f"{directory}\n"
    assert (directory / "answer.txt").read_text() == "42\n"


async def test_a_job_whose_files_go_by_http(service: Service, pilots: list[Pilot]) -> None:
    script = "pwd; cat input.txt >>kept/copy.txt; printf changed >changed.txt; exit 3"
    files = {"input.txt": "in\n", "changed.txt": "before", "kept/copy.txt": "was there\n"}
    job, directory = await run(service, "far", script, **files)
    assert job["state"] == "error"
    assert "exit code 3" in str(job["reason"])
    elsewhere = (directory / "stdout.txt").read_text().strip()
    assert not Path(elsewhere).is_relative_to(service.data_dir)
    assert not Path(elsewhere).exists()  # nothing stays at the pilot
    assert (directory / "returncode").read_text() == "3"
    assert (directory / "changed.txt").read_text() == "changed"
    assert (directory / "kept/copy.txt").read_text() == "was there\nin\n"


async def test_a_visitor_cancels_a_job_at_a_pilot(service: Service, pilots: list[Pilot]) -> None:
    job = await service.submit({"script.sh": "exec sleep 1000", "lab": ""})
    await appears(service.job_dir(job) / "stdout.txt")
    far = await service.submit({"script.sh": "exec sleep 1000", "far": ""})
    await service.state_is(far, "running")
    for id_ in (job, far):
        assert (await service.client.post(f"/api/job/{id_}/cancel")).status_code < 300
        ended = await service.ended(id_)
        assert ended["state"] == "error"
        assert "cancelled" in str(ended["reason"])


async def test_a_killed_pilot_sends_the_outputs_later(
    service: Service, pilots: list[Pilot], tmp_path: Path
) -> None:
    far = pilots[1]
    pid, go = tmp_path / "pid", tmp_path / "go"
    script = f"echo $$ >>{pid}; while [ ! -e {go} ]; do sleep 0.05; done; echo done >result.txt"
    job = await service.submit({"script.sh": script, "far": ""})
    await appears(pid)
    await asyncio.to_thread(far.kill)
    go.touch()
    await until(lambda: has_ended(int(pid.read_text())))
    far.start()
    assert (await service.ended(job))["state"] == "ok"
    assert (service.job_dir(job) / "result.txt").read_text() == "done\n"
    assert len(pid.read_text().splitlines()) == 1


async def test_runs_hold_no_secret(service: Service, pilots: list[Pilot], prefect: PrefectClient) -> None:
    await run(service, "far", "true")
    answer = await prefect.request(
        "POST", "/flow_runs/filter", json={"flows": {"name": {"any_": ["run-command"]}}}
    )
    said = json.dumps(answer.json())
    secrets = [await asyncio.to_thread(pilot_key, service, "far")]
    secrets += [service.environment["PREFECT_API_AUTH_STRING"], service.environment["BARTENDER_DB_DSN"]]
    assert '"command"' in said
    assert not any(secret in said for secret in secrets)
