"""A cluster whose commands are on another machine."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from blocks import CommandEnvironment
from flows.destinations.scheduler import Scheduler, Shared
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.errors import JobCancelled, Unavailable
from flows.ssh.connections import Connections
from tests.flows.slurm.jobs import WAIT, Job, started
from tests.flows.submitting import statuses
from tests.services.logins import READ_AT_LOGIN, login
from tests.services.sshd import SshServer
from tests.waiting import LONG_ENOUGH, until, until_it_works


@pytest.fixture
async def make(ssh_server: SshServer, tmp_path: Path) -> AsyncIterator[Callable[..., Scheduler]]:
    connections, made = Connections(), []
    ssh_config = ssh_server.login(ssh_server.stock)

    def make(**options: Any) -> Scheduler:
        keys = {"type": "slurm", "ssh_config": ssh_config, "poll_interval": 0.1, **options}
        surroundings = Surroundings(Place(tmp_path / "data", tmp_path / "jobs"), "there", connections)
        made.append(SCHEDULERS.configured(keys, Path()).make(surroundings))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()
    await connections.close()


async def test_jobs_of_another_machine(make: Callable[..., Scheduler], job: Job) -> None:
    scheduler = make()
    jobs = [job(f"whoami; exit {code}") for code in range(12)]
    ids = await asyncio.gather(*(scheduler.submit(job) for job in jobs))
    ends = await asyncio.gather(*(statuses(scheduler, scheduler_id) for scheduler_id in ids))
    assert [end[-1].returncode for end in ends] == list(range(12))
    assert len({(job.directory / "stdout.txt").read_text() for job in jobs}) == 1


@pytest.mark.parametrize(
    ("shell", "line"),
    [
        ("bash", r"printf '\033]0;%s\007' login1"),
        ("bash", r"printf '4711|PENDING|None|job\n4711'"),
        ("csh", ""),
        ("tcsh", r"printf '\033[31mWelcome'"),
    ],
)
async def test_logins_that_greet_and_other_shells(
    make: Callable[..., Scheduler],
    job: Job,
    ssh_server: SshServer,
    shells: None,
    shell: str,
    line: str,
) -> None:
    scheduler, runs = make(), job(WAIT + "; exit 3")
    files = {READ_AT_LOGIN[shell]: f"{line}\n"} if line else {}
    with login(ssh_server.state.account, shell, files):
        await scheduler.check()
        scheduler_id = await started(scheduler, runs)
        assert await scheduler.submit(runs) == scheduler_id
        assert [one.token for one in await cast(Shared, scheduler).under_way() if one.token == runs.token]
        (runs.directory / "go").touch()
        assert (await statuses(scheduler, scheduler_id))[-1].returncode == 3
    assert (runs.directory / "ledger").read_text() == "ran\n"


async def test_an_answer_that_does_not_come_is_no_empty_queue(
    make: Callable[..., Scheduler], job: Job, ssh_server: SshServer
) -> None:
    scheduler, runs = make(lost_after=0.1), job(WAIT)
    scheduler_id = await started(scheduler, runs)
    with login(ssh_server.state.account, "bash", {".bashrc": "echo 'Maintenance.'; exit\n"}):
        with pytest.raises(Unavailable, match="Maintenance"):
            await cast(Shared, scheduler).under_way()
        with pytest.raises(Unavailable, match="Maintenance"):
            await statuses(scheduler, scheduler_id)
        with pytest.raises(Unavailable, match="Maintenance"):
            await scheduler.check()
    (runs.directory / "go").touch()
    await until_it_works(scheduler.check)
    assert (await until_it_works(lambda: statuses(scheduler, scheduler_id)))[-1].returncode == 0


async def test_a_long_command_and_secret_variables(
    make: Callable[..., Scheduler], job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(name: str) -> dict[str, str]:
        return {"LICENSE": "hidden"}

    monkeypatch.setattr(CommandEnvironment, "read", staticmethod(read))
    scheduler, text = make(environment="my-block"), "x" * 500_000
    long = job(f"cat <<'END'\n{text}\nEND\necho $LICENSE")
    assert (await statuses(scheduler, await scheduler.submit(long)))[-1].returncode == 0
    assert (long.directory / "stdout.txt").read_text() == f"{text}\nhidden\n"


async def test_modules_of_the_accounts_bash(
    make: Callable[..., Scheduler], job: Job, ssh_server: SshServer
) -> None:
    """Its file defines them for shells that are run by SSH; on a node it is read by a line of set-up."""
    file = ssh_server.home / ".bashrc"
    before = file.read_text() if file.exists() else ""
    try:
        file.write_text('module() { echo "$@"; }\nexport -f module\n')
        loads = job("module load tool && [[ 1 == 1 ]]")
        scheduler = make(setup=["source ~/.bashrc"])
        assert (await statuses(scheduler, await scheduler.submit(loads)))[-1].returncode == 0
        assert (loads.directory / "stdout.txt").read_text() == "load tool\n"
    finally:
        file.write_text(before)


async def test_the_connection_breaks_while_a_job_runs(
    make: Callable[..., Scheduler], job: Job, ssh_server: SshServer
) -> None:
    scheduler, runs = make(), job(WAIT)
    scheduler_id = await started(scheduler, runs)
    await asyncio.to_thread(ssh_server.stock.crash)
    try:
        with pytest.raises(Unavailable):
            async for _ in scheduler.watch(scheduler_id):
                pass
        with pytest.raises(Unavailable):
            await scheduler.submit(runs)
    finally:
        await asyncio.to_thread(ssh_server.stock.start)
    (runs.directory / "go").touch()
    async with asyncio.timeout(LONG_ENOUGH):
        while True:
            try:
                assert await scheduler.submit(runs) == scheduler_id
                end = (await statuses(scheduler, scheduler_id))[-1]
            except Unavailable:
                await asyncio.sleep(0.1)
            else:
                break
    assert end.returncode == 0
    assert (runs.directory / "ledger").read_text() == "ran\n"


async def test_a_submission_whose_connection_breaks(
    make: Callable[..., Scheduler], job: Job, ssh_server: SshServer
) -> None:
    """At some point of it: it is repeated, and runs once."""
    scheduler = make()
    jobs = [job("echo ran >>ledger; echo done >done") for _ in range(8)]
    for number, one in enumerate(jobs):
        submitting = asyncio.create_task(scheduler.submit(one))
        await asyncio.sleep(0.01 * number)
        for pid in ssh_server.stock.connections():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await asyncio.gather(submitting, return_exceptions=True)
    for one in jobs:
        async with asyncio.timeout(LONG_ENOUGH):
            while True:
                try:
                    await scheduler.submit(one)
                except Unavailable:
                    await asyncio.sleep(0.1)
                else:
                    break
    await until(lambda: all((one.directory / "done").exists() for one in jobs))
    assert [(one.directory / "ledger").read_text() for one in jobs] == ["ran\n"] * 8


async def test_cancel_there(make: Callable[..., Scheduler], job: Job) -> None:
    scheduler, runs = make(), job(WAIT)
    scheduler_id = await started(scheduler, runs)
    await scheduler.cancel(scheduler_id)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)
