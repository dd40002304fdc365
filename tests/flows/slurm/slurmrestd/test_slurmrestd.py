"""A cluster that is reached by its REST API only: no command of Slurm is run."""

import asyncio
import uuid
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from flows.destinations.filesystem import guard
from flows.destinations.scheduler import Scheduler, Shared
from flows.errors import DestinationRefused, JobCancelled, Unavailable
from tests.flows.slurm.jobs import WAIT, Job, slurm_id, started
from tests.flows.slurm.slurmrestd.servers import NO_JOBS, Make, Paths, answer, instead, really, save
from tests.flows.submitting import statuses
from tests.services.slurm import SlurmCluster
from tests.waiting import until


def state(cluster: SlurmCluster, scheduler_id: str) -> str:
    return cluster.run("squeue", "-h", "-t", "all", "-j", slurm_id(scheduler_id), "-o", "%u %T %l").strip()


async def test_a_word_count(make: Make, slurm_cluster: SlurmCluster, job: Job, paths: Paths) -> None:
    wc = job("wc -w <input; whoami; cd && pwd")
    (wc.directory / "input").write_text("four words are here")
    keys = {"time": "1:30:00", "memory": "1G", "cpus": 2, "extra_properties": {"nice": 1}}
    scheduler = make(api_version=paths.version, **keys)
    scheduler_id = await scheduler.submit(wc)
    account = slurm_cluster.state.account
    assert state(slurm_cluster, scheduler_id).split()[::2] == [account.name, "1:30:00"]
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0
    assert (wc.directory / "stdout.txt").read_text() == f"4\n{account.name}\n{account.home}\n"
    assert {path.name for path in wc.directory.iterdir()} == {
        "input",
        "returncode",
        "stderr.txt",
        "stdout.txt",
    }


async def test_the_command_is_for_the_accounts_eyes_only(scheduler: Scheduler, job: Job) -> None:
    secret = job("exit 3")
    end = (await statuses(scheduler, await scheduler.submit(secret)))[-1]
    assert (end.returncode, end.failure) == (3, None)
    notes = guard(secret.directory, secret.token)
    assert notes.stat().st_mode & 0o077 == 0
    assert (notes / "command").stat().st_mode & 0o077 == 0


async def test_cancel(scheduler: Scheduler, slurm_cluster: SlurmCluster, job: Job) -> None:
    waiting = job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    await scheduler.cancel(scheduler_id)
    assert " CANCELLED " in state(slurm_cluster, scheduler_id)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)
    with pytest.raises(JobCancelled):
        await scheduler.submit(waiting)


async def test_a_submission_whose_answer_is_lost_runs_once(
    make: Make, slurm_cluster: SlurmCluster, job: Job, paths: Paths
) -> None:
    def lose(request: httpx.Request) -> httpx.Response:
        assert really(request).json()["job_id"]
        raise httpx.ReadTimeout("", request=request)

    first, waiting = make(), job(WAIT)
    with instead({paths.submit: {"side_effect": lose}}), pytest.raises(Unavailable, match="in time"):
        await first.submit(waiting)
    await first.close()
    second = make()
    ids = [await second.submit(waiting) for _ in range(2)]
    await until((waiting.directory / "ledger").exists)
    (waiting.directory / "go").touch()
    assert (await statuses(second, ids[0]))[-1].returncode == 0
    assert len(set(ids)) == 1
    assert (waiting.directory / "ledger").read_text() == "ran\n"
    name = f"a-1.{waiting.token}"
    assert len(slurm_cluster.run("squeue", "-h", "-t", "all", f"--name={name}", "-o", "%A").split()) == 1


async def test_what_is_under_way_and_of_which_installation(
    make: Make, job: Job, slurm_cluster: SlurmCluster, paths: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler, installation = make(), str(uuid.uuid4())
    ours, former, ended = replace(job(WAIT), installation=installation), job(WAIT), job("true")
    ids = [await started(scheduler, waiting) for waiting in (ours, former)]
    await statuses(scheduler, await scheduler.submit(ended))
    assert isinstance(scheduler, Shared)
    listed = {found.token: found for found in await scheduler.under_way()}
    assert listed[ours.token].installation == installation
    assert listed[former.token].installation == ""
    assert ended.token not in listed
    await scheduler.end([listed[waiting.token].scheduler_id for waiting in (ours, former)])
    for scheduler_id in ids:
        assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)
    # What an earlier version submitted is found, though accounting is asked for names.
    name = f"a-1.{former.token}"
    await until(lambda: "CANCELLED" in slurm_cluster.run("sacct", "-Xn", f"--name={name}", "-o", "State%20"))
    monkeypatch.setattr("flows.batch.guards.begun_as", lambda guard: None)
    with instead({paths.all: answer(NO_JOBS)}):
        again = await make().submit(replace(former, installation=installation))
    assert again == ids[1]


async def test_another_process_finds_the_end(make: Make, job: Job) -> None:
    first, ends = make(), job("exit 5")
    scheduler_id = await first.submit(ends)
    await until((ends.directory / "returncode").exists)
    await first.close()
    second = make()
    assert (await statuses(second, scheduler_id))[-1].returncode == 5
    assert await second.submit(ends) == scheduler_id


async def test_one_question_for_all_jobs(make: Make, job: Job, paths: Paths) -> None:
    scheduler = make(poll_interval=1)
    jobs = [job(WAIT) for _ in range(6)]
    ids = await asyncio.gather(*(scheduler.submit(waiting) for waiting in jobs))
    with instead({paths.some: {"side_effect": really}}) as mocked:
        watching = [scheduler.watch(scheduler_id) for scheduler_id in ids]
        seen = await asyncio.gather(*(anext(watch) for watch in watching))
        assert {status.state for status in seen} <= {"queued", "running"}
        assert mocked[paths.some].call_count == 1
    await asyncio.gather(*(scheduler.cancel(scheduler_id) for scheduler_id in ids))


async def test_a_job_that_it_will_never_take(make: Make, job: Job) -> None:
    for options in ({"partition": "nowhere"}, {"memory": "900T"}, {"extra_properties": {"no": 1}}):
        with pytest.raises(DestinationRefused, match="does not take the job"):
            await make(**options).submit(job("true"))


async def test_a_job_it_forgot_and_accounting_knows(
    make: Make, slurm_cluster: SlurmCluster, job: Job, paths: Paths
) -> None:
    """What the controller has is hidden, as after MinJobAge."""
    scheduler, killed = make(), job(WAIT)
    scheduler_id = await started(scheduler, killed)
    slurm_cluster.run("scancel", slurm_id(scheduler_id))
    with instead({paths.some: answer(NO_JOBS)}):
        end = (await statuses(scheduler, scheduler_id))[-1]
    assert isinstance(end.failure, JobCancelled)


async def test_an_expired_token_is_replaced_without_a_restart(
    scheduler: Scheduler, slurm_cluster: SlurmCluster
) -> None:
    account = slurm_cluster.state.account.name
    said = slurm_cluster.run("scontrol", "token", f"username={account}", "lifespan=1")
    await save(slurm_cluster, token=said.strip())
    expires = asyncio.get_running_loop().time() + 60
    with pytest.raises(Unavailable, match="token of the block cluster has expired: save"):  # noqa: PT012
        while asyncio.get_running_loop().time() < expires:
            await scheduler.check()
    await save(slurm_cluster)
    await scheduler.check()


async def test_a_token_that_is_refused(
    scheduler: Scheduler, slurm_cluster: SlurmCluster, job: Job, paths: Paths
) -> None:
    """Slurm 22.05 says the same as while the controller is away."""
    save_it = "token of the block cluster is refused: save"
    said = save_it if slurm_cluster.version >= (24, 11) else "or refuses the token"
    await save(slurm_cluster, token="wrong")
    with pytest.raises(Unavailable, match=said):
        await scheduler.check()
    with pytest.raises(Unavailable, match=said):
        await scheduler.submit(job("true"))
    refused = {"return_value": httpx.Response(401, text="Authentication failure")}
    with instead({paths.partitions: refused}), pytest.raises(Unavailable, match=save_it):
        await scheduler.check()


FAULTS: dict[str, Any] = {
    "500": {"return_value": httpx.Response(500, json={"errors": [{"error_number": -1, "error": "no"}]})},
    "503": {"return_value": httpx.Response(503, text="Service Unavailable")},
    "half an answer": {"return_value": httpx.Response(200, text='{"errors": [], "jobs": [')},
    "an answer with errors": {"return_value": httpx.Response(200, json={"errors": ["no"], "jobs": []})},
    "no jobs": {"return_value": httpx.Response(200, json={"errors": []})},
    "other jobs": {"return_value": httpx.Response(200, json={"jobs": [{"user_name": ""}]})},
    "a page": {"return_value": httpx.Response(200, html="<html>Log in</html>")},
    "a redirection": {"return_value": httpx.Response(302, headers={"location": "/login"})},
    "a list": {"return_value": httpx.Response(200, json=[])},
    "404": {"return_value": httpx.Response(404, text="Please view /openapi/v3 for API reference.")},
    "timeout": {"side_effect": httpx.ReadTimeout},
    "lost": {"side_effect": httpx.RemoteProtocolError("Server disconnected")},
    "away": {"side_effect": httpx.ConnectError("refused")},
}


async def test_nothing_that_goes_wrong_ends_a_job(make: Make, job: Job, paths: Paths, tmp_path: Path) -> None:
    scheduler, waiting = make(poll_interval=0.1, lost_after=0.1), job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    for name, fault in FAULTS.items():
        with instead({paths.all: fault, paths.some: fault, paths.partitions: fault}) as mocked:
            with pytest.raises(Unavailable):
                await scheduler.check()
            for unknown in (str(uuid.uuid4()), f"987654:{uuid.uuid4()}:{tmp_path}/x"):
                with pytest.raises(Unavailable):
                    await make().cancel(unknown)
            asked = [mocked[path].call_count for path in {paths.all, paths.some}]
            assert (sum(asked), mocked[paths.partitions].call_count) == (2, 1), name
    assert (await anext(scheduler.watch(scheduler_id))).state == "running"
    (waiting.directory / "go").touch()
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0


async def test_accounting_that_does_not_answer_proves_nothing(make: Make, job: Job, paths: Paths) -> None:
    """It says so with HTTP 200 and no jobs."""
    scheduler, waiting = make(poll_interval=0.1, lost_after=0.1), job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    error = {"error_number": 7000, "error": "Unable to connect to database"}
    answers = {paths.some: answer(NO_JOBS), paths.accounting: answer({"errors": [error], "jobs": []})}
    with instead(answers) as mocked:
        watching = asyncio.create_task(statuses(scheduler, scheduler_id))
        await until(lambda: mocked[paths.accounting].call_count >= 5)
        assert not watching.done()
    (waiting.directory / "go").touch()
    assert (await watching)[-1].returncode == 0


async def test_jobs_of_other_users_are_not_ours(
    scheduler: Scheduler, slurm_cluster: SlurmCluster, job: Job, paths: Paths
) -> None:
    """Slurm may have given the id to one of them, which they may call what they want."""
    waiting = job(WAIT)
    scheduler_id = await started(scheduler, waiting)
    lists = slurm_cluster.version >= (24, 11)
    theirs = {
        "user_name": "somebody",
        "job_id": int(slurm_id(scheduler_id)) if lists else 1,
        "name": f"x.{waiting.token}",
        "job_state": ["CANCELLED"] if lists else "CANCELLED",
        "state_reason": "",
    }
    answers = {paths.all: answer({"errors": [], "jobs": [theirs]})}
    if lists:
        states = [{"job_id": slurm_id(scheduler_id), "state": ["CANCELLED"]}]
        answers = {
            paths.some: answer({"errors": [], "jobs": states}),
            paths.job(scheduler_id): answers[paths.all],
        }
    with instead(answers) as mocked:
        watching = asyncio.create_task(statuses(scheduler, scheduler_id))
        await until(lambda: mocked[paths.some].call_count >= 2)
        assert not watching.done()
    (waiting.directory / "go").touch()
    assert (await watching)[-1].returncode == 0


async def test_versions_that_are_not_understood(make: Make) -> None:
    openapi = {"paths": dict.fromkeys(["/slurm/v0.0.99/jobs", "/slurmdb/v0.0.38/jobs"])}
    scheduler = make()
    with (
        instead({"/openapi/v3": answer(openapi)}),
        pytest.raises(Unavailable, match=r"offers v0\.0\.99, and only v0\.0\.42"),
    ):
        await scheduler.check()
    refused: list[dict[str, Any]] = [
        {"api_version": "v0.0.99"},
        {"extra_properties": {"name": "x"}},
        {"extra_properties": {"begin_time": {"number": 5}}},
        {"block": ""},
    ]
    for keys in refused:
        with pytest.raises(ValidationError):
            make(**keys)


async def test_by_its_socket(make: Make, slurm_cluster: SlurmCluster, tmp_path: Path) -> None:
    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        port = int(slurm_cluster.rest_url.rpartition(":")[2])
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pump(reader, back), pump(there, writer), return_exceptions=True)

    server = await asyncio.start_unix_server(forward, tmp_path / "rest.sock")
    async with server:
        await save(slurm_cluster, url=f"unix:{tmp_path}/rest.sock")
        scheduler = make()
        await scheduler.check()
        await scheduler.close()


async def test_a_block_that_there_is_not(make: Make) -> None:
    with pytest.raises(Unavailable, match=r"block nothing \(Slurm REST Credentials\) cannot be used"):
        await make(block="nothing").check()
