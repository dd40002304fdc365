"""What the scheduler does on a real cluster, beyond the contract of all schedulers."""

import asyncio
import itertools
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from blocks import CommandEnvironment
from flows.destinations.filesystem import guard
from flows.destinations.scheduler import Scheduler, Status
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.errors import (
    CommandFailed,
    DestinationFailed,
    DestinationRefused,
    JobCancelled,
    OutOfMemory,
    TimeLimitExceeded,
    Unavailable,
)
from flows.slurm import queries
from flows.ssh.connections import Connections
from tests.flows.recorder import Recorder
from tests.flows.slurm.jobs import WAIT, failure, slurm_id, started
from tests.flows.slurm.watching import state
from tests.flows.submitting import run, statuses, submission
from tests.services.slurm import SlurmCluster
from tests.waiting import LONG_ENOUGH, until

Make = Callable[..., Scheduler]

LONG = "sleep 1000"


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def over_time(slurm_cluster: SlurmCluster, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A job that will be over its time when the other tests have ended: Slurm looks every 30 s."""
    place = Place(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("jobs"))
    with pytest.MonkeyPatch.context() as patch:
        slurm_cluster.use(patch)
        configured = SCHEDULERS.configured({"type": "slurm"}, Path())
        scheduler = configured.make(Surroundings(place, "here", Connections()))
        scheduler_id = await scheduler.submit(submission(place, LONG))
        await until(lambda: state(slurm_cluster, slurm_id(scheduler_id)) == "RUNNING")
        slurm_cluster.run("scontrol", "update", f"JobId={slurm_id(scheduler_id)}", "EndTime=now+1")
        await scheduler.close()
    return scheduler_id


# How jobs end


async def test_all_that_a_visitor_may_write_in_a_command(scheduler: Scheduler, place: Place) -> None:
    command = "cat <<'EOF'\nEND-\n#SBATCH --array=1-9\n'\"$(id)`id`\\ ü\nEOF\nprintf 'a\\r\\n'\r\n"
    end, directory = await run(scheduler, place, command)
    assert end.returncode == 0
    printed = (directory / "stdout.txt").read_bytes()
    assert printed.decode().splitlines()[:3] == ["END-", "#SBATCH --array=1-9", "'\"$(id)`id`\\ ü"]


async def test_odd_directories(scheduler: Scheduler, place: Place) -> None:
    job = submission(place, "pwd")
    directory = job.directory.with_name("a:b 'c' $(id) %j ü")
    directory.mkdir()
    job = replace(job, directory=directory)
    assert (await statuses(scheduler, await scheduler.submit(job)))[-1].returncode == 0
    assert (directory / "stdout.txt").read_text() == f"{directory}\n"


async def test_a_submission_of_an_earlier_version_is_found(
    make: Make, host: Recorder, cluster: SlurmCluster, place: Place
) -> None:
    """Its name says no installation."""
    job = submission(place, WAIT)
    scheduler_id = await started(make(), job)
    now = replace(job, installation=str(uuid.uuid4()))
    assert await make().submit(now) == scheduler_id
    (job.directory / "go").touch()
    assert (await statuses(make(), scheduler_id))[-1].returncode == 0
    await until(lambda: "COMPLETED" in cluster.run("sacct", "-Xn", f"--name=a-1.{job.token}", "-o", "State"))
    host.before = "squeue() { :; }; readlink() { :; }\n"
    assert await make().submit(now) == scheduler_id


async def test_a_job_is_named_for_operators(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place
) -> None:
    job = replace(submission(place, "true"), application="wc x\n", job_id=42)
    scheduler_id = await scheduler.submit(job)
    assert cluster.run("squeue", "-h", "-t", "all", "-j", slurm_id(scheduler_id), "-o", "%j %Z") == (
        f"wc_x_-42.{job.token} {job.directory}\n"
    )
    await statuses(scheduler, scheduler_id)


async def test_cancelled_by_somebody_at_the_cluster(
    scheduler: Scheduler, cluster: SlurmCluster, place: Place
) -> None:
    job = submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    cluster.run("scancel", slurm_id(scheduler_id))
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)


async def test_killed_with_its_script(scheduler: Scheduler, place: Place) -> None:
    end, _ = await run(scheduler, place, "kill -9 $PPID")
    assert isinstance(end.failure, CommandFailed)


async def test_too_much_memory(make: Make, cluster: SlurmCluster, place: Place) -> None:
    if not cluster.cgroups:
        pytest.skip("memory is not limited here")
    end, directory = await run(make(memory="20M"), place, "head -c 100M /dev/zero | tail")
    assert isinstance(end.failure, OutOfMemory)
    assert {path.name for path in directory.iterdir()} <= {"stdout.txt", "stderr.txt", "returncode"}


async def test_without_a_return_code(
    scheduler: Scheduler, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.batch.conclusions.VISIBLE_AFTER", 0.5)
    job = submission(place, "true")
    job.directory.rmdir()
    end = (await statuses(scheduler, await scheduler.submit(job)))[-1]
    assert isinstance(end.failure, DestinationFailed)
    assert "could not start in its directory" in failure(end)


# What waits


async def test_an_impossible_job_says_why(make: Make, cluster: SlurmCluster, place: Place) -> None:
    scheduler, job = make(partition="short", time="1:00:00"), submission(place, "true")
    scheduler_id = await scheduler.submit(job)
    watching = scheduler.watch(scheduler_id)
    async with asyncio.timeout(LONG_ENOUGH):
        while (status := await anext(watching)).reason is None:
            pass
    assert status.state == "queued"
    assert "will not start as it is" in (status.reason or "")
    await scheduler.cancel(scheduler_id)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)


async def test_more_than_the_partition_has(make: Make, cluster: SlurmCluster, place: Place) -> None:
    """Slurm 22.05 and 26.05 take such a job and let it wait; 24.11 refuses it."""
    scheduler = make(cpus=999)
    if cluster.version == (24, 11):
        with pytest.raises(DestinationRefused, match="does not take the job"):
            await scheduler.submit(submission(place, "true"))
        return
    scheduler_id = await scheduler.submit(submission(place, "true"))
    status = await anext(scheduler.watch(scheduler_id))
    assert "will not start as it is, because it asks for more than the partition has" in str(status.reason)
    await scheduler.cancel(scheduler_id)


# What is refused


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"partition": "nope"}, "invalid partition"),
        ({"extra_options": ["--bogus"]}, "unrecognized option"),
        ({"memory": "99T"}, "configuration is not available"),
        ({"extra_options": ["--constraint=nope"]}, "Invalid feature"),
    ],
)
async def test_refusals(make: Make, cluster: SlurmCluster, place: Place, options: object, text: str) -> None:
    scheduler, job = make(**options), submission(place, "true")  # type: ignore[arg-type]
    with pytest.raises(DestinationRefused) as refusal:
        await scheduler.submit(job)
    assert text in str(refusal.value)


# Exactly once


async def test_a_submission_that_comes_late(
    scheduler: Scheduler, cluster: SlurmCluster, host: Recorder, place: Place
) -> None:
    """The controller answers that there is no such job, and takes it only then: there are two."""
    job = submission(place, WAIT)
    with host.losing_answers(), pytest.raises(Unavailable):
        await scheduler.submit(job)
    host.before = "squeue() { :; }; sacct() { :; }; readlink() { :; }\n"
    scheduler_id = await scheduler.submit(job)
    host.before = ""
    await until((job.directory / "ledger").exists)
    rows = [row for row in queries.queue((await host.run(queries.squeue())).stdout) if row.token == job.token]
    assert len(rows) == 2
    # The one that gave way has ended; the other one counts.
    await until(lambda: state(cluster, *(row.batch_id for row in rows)) == "COMPLETED RUNNING")
    for row in rows:
        found = scheduler_id.replace(slurm_id(scheduler_id), row.batch_id, 1)
        assert await anext(scheduler.watch(found)) == Status(state="running")
    (job.directory / "go").touch()
    assert (await statuses(scheduler, scheduler_id))[-1] == Status(state="ended", returncode=0)
    assert (job.directory / "ledger").read_text() == "ran\n"


async def test_two_at_once(make: Make, cluster: SlurmCluster, place: Place) -> None:
    job = submission(place, "echo ran >>ledger")
    first, second = make(), make()
    ids = await asyncio.gather(first.submit(job), second.submit(job), return_exceptions=True)
    for scheduler_id in ids:
        if isinstance(scheduler_id, str):
            assert (await statuses(first, scheduler_id))[-1].returncode == 0
    assert (job.directory / "ledger").read_text() == "ran\n"


# Cancelling


async def test_cancel_by_token_alone(scheduler: Scheduler, make: Make, place: Place) -> None:
    job = submission(place, WAIT)
    scheduler_id = await started(scheduler, job)
    await make().cancel(job.token)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)


async def test_what_comes_after_a_cancel_does_not_begin(
    make: Make, cluster: SlurmCluster, place: Place
) -> None:
    job = submission(place, "echo ran >>ledger")
    scheduler = make(extra_options=["--hold"])
    scheduler_id = await scheduler.submit(job)
    assert "it is held" in str((await anext(scheduler.watch(scheduler_id))).reason)
    script = cluster.run("scontrol", "write", "batch_script", slurm_id(scheduler_id), "-")
    await scheduler.cancel(scheduler_id)
    # The same script again, as of a submission that was under way.
    name = f"a-1.{job.token}"
    late = cluster.run("sbatch", "--parsable", "-J", name, "-o", "/dev/null", input=script).strip()
    await until(lambda: state(cluster, late) == "COMPLETED")
    assert not (job.directory / "ledger").exists()
    with pytest.raises(JobCancelled):
        await scheduler.submit(job)
    # Nor when the files are gone.
    for path in guard(job.directory, job.token).iterdir():
        path.unlink()
    guard(job.directory, job.token).rmdir()
    late = cluster.run("sbatch", "--parsable", "-J", name, "-o", "/dev/null", input=script).strip()
    await until(lambda: state(cluster, late) == "FAILED")
    assert not (job.directory / "ledger").exists()


async def test_cancel_during_a_submission(scheduler: Scheduler, make: Make, place: Place) -> None:
    jobs = [submission(place, WAIT) for _ in range(6)]
    for number, job in enumerate(jobs):
        submitting = asyncio.create_task(scheduler.submit(job))
        await asyncio.sleep(0.02 * number)
        submitting.cancel()
        await asyncio.gather(submitting, return_exceptions=True)
    await asyncio.gather(*(scheduler.cancel(job.token) for job in jobs))
    ledgers = [(job.directory / "ledger").exists() for job in jobs]
    rows = queries.queue((await Recorder().run(queries.squeue())).stdout)
    tokens = {job.token for job in jobs}
    assert not [row for row in rows if row.token in tokens and row.state in {"RUNNING", "PENDING"}]
    assert [(job.directory / "ledger").exists() for job in jobs] == ledgers


async def test_cancel_of_a_suspended_job(scheduler: Scheduler, cluster: SlurmCluster, place: Place) -> None:
    scheduler_id = await started(scheduler, submission(place, WAIT))
    cluster.run("scontrol", "suspend", slurm_id(scheduler_id))
    assert "suspended" in str((await anext(scheduler.watch(scheduler_id))).reason)
    await scheduler.cancel(scheduler_id)
    assert isinstance((await statuses(scheduler, scheduler_id))[-1].failure, JobCancelled)


# Many


SACCT = "sacct -XnP -S now-7days -j"


async def test_300_jobs_share_one_question_in_an_interval(
    make: Make, cluster: SlurmCluster, host: Recorder, place: Place
) -> None:
    """Whatever happens to them: some are cancelled meanwhile, and the cluster's health is looked at."""
    interval = 0.5
    scheduler = make(poll_interval=interval)
    jobs = [submission(place, f"exit {n % 2}") for n in range(290)]
    cancelled = [submission(place, WAIT) for _ in range(10)]
    ids = await asyncio.gather(*(scheduler.submit(job) for job in cancelled + jobs))
    assert not host.when(queries.squeue())
    watching = [asyncio.create_task(last(scheduler, scheduler_id)) for scheduler_id in ids]
    await asyncio.gather(scheduler.check(), *(scheduler.cancel(scheduler_id) for scheduler_id in ids[:10]))
    ends = await asyncio.gather(*watching)
    assert [end.returncode for end in ends[10:]] == [n % 2 for n in range(290)]
    assert all(isinstance(end.failure, JobCancelled) for end in ends[:10])
    questions = host.when(queries.squeue())
    gaps = [after[0] - before[1] for before, after in itertools.pairwise(questions)]
    assert min(gaps) >= interval - 0.001  # of two clocks
    assert not host.when(SACCT)

    host.before = "squeue() { :; }\n"  # forgotten: accounting and the notes are asked
    asked = len(questions)
    again = make(poll_interval=interval)
    ends = await asyncio.gather(*(last(again, scheduler_id) for scheduler_id in ids[10:]))
    assert [end.returncode for end in ends] == [n % 2 for n in range(290)]
    assert len(host.when(queries.squeue())) - asked == len(host.when(SACCT)) == 1


async def last(scheduler: Scheduler, scheduler_id: str) -> Status:
    async with asyncio.timeout(LONG_ENOUGH):
        return [status async for status in scheduler.watch(scheduler_id)][-1]


# Secrets


async def test_variables_of_a_block(
    make: Make, cluster: SlurmCluster, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(name: str) -> dict[str, str]:
        return {"LICENSE": "hidden ' \n$(id)"}

    monkeypatch.setattr(CommandEnvironment, "read", staticmethod(read))
    scheduler, job = make(environment="my-block"), submission(place, f'{WAIT}; printf %s "$LICENSE"')
    scheduler_id = await started(scheduler, job)
    number = slurm_id(scheduler_id)
    records = cluster.run("scontrol", "show", "job", "-dd", number)
    records += cluster.run("scontrol", "write", "batch_script", number, "-")
    assert "hidden" not in records
    arguments = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")]
    assert not any(b"hidden" in line for line in arguments)
    assert not any(b"hidden" in path.read_bytes() for path in job.directory.iterdir())
    notes = guard(job.directory, job.token)
    assert notes.stat().st_mode & 0o77 == 0
    (job.directory / "go").touch()
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0
    assert (job.directory / "stdout.txt").read_text() == "hidden ' \n$(id)"


async def test_time_limit(scheduler: Scheduler, over_time: str) -> None:
    assert isinstance((await last(scheduler, over_time)).failure, TimeLimitExceeded)
