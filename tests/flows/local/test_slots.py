"""What the schedulers ``memory`` and ``eager`` do besides what all do: slots, load and time."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from blocks import CommandEnvironment
from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.errors import JobCancelled, TimeLimitExceeded
from flows.ssh.connections import Connections
from tests.flows.submitting import WAITS, run, statuses, submission
from tests.waiting import until


@pytest.fixture
async def make(place: Place) -> AsyncIterator[Callable[..., Scheduler]]:
    """Make a scheduler; made twice, the second is what another process would have."""
    made: list[Scheduler] = []

    def make(kind: str, **keys: Any) -> Scheduler:
        load = {"max_load": 1000.0} if kind == "eager" else {}
        configured = SCHEDULERS.configured({"type": kind, **load, **keys}, place.data_dir)
        made.append(configured.make(Surroundings(place, "here", Connections())))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()


async def test_memory_runs_as_many_as_it_has_slots(make: Callable[..., Scheduler], place: Place) -> None:
    scheduler = make("memory", slots=2)
    script = "echo >started; while [ ! -e go ]; do sleep 0.01; done"
    jobs = [submission(place, script) for _ in range(4)]
    ids = [await scheduler.submit(job) for job in jobs]
    await until(lambda: sum((job.directory / "started").exists() for job in jobs) == 2)
    assert [(job.directory / "started").exists() for job in jobs] == [True, True, False, False]
    assert (await anext(scheduler.watch(ids[3]))).state == "queued"
    # The third goes while it waits, so the fourth gets the slot.
    await scheduler.cancel(ids[2])
    assert isinstance((await statuses(scheduler, ids[2]))[-1].failure, JobCancelled)
    for job in jobs:
        (job.directory / "go").touch()
    for index in (0, 1, 3):
        assert (await statuses(scheduler, ids[index]))[-1].returncode == 0
    assert not (jobs[2].directory / "started").exists()


async def test_memory_keeps_its_queue_and_slots_over_a_restart(
    make: Callable[..., Scheduler], place: Place
) -> None:
    first = make("memory", slots=1)
    running = submission(place, "echo >started; while [ ! -e go ]; do sleep 0.01; done")
    waiting = submission(place, "echo ran >>ledger")
    running_id, waiting_id = await first.submit(running), await first.submit(waiting)
    await until((running.directory / "started").exists)
    await first.close()
    second = make("memory", slots=1)
    watching = asyncio.create_task(statuses(second, waiting_id))
    assert (await anext(second.watch(waiting_id))).state == "queued"
    (running.directory / "go").touch()
    assert (await watching)[-1].returncode == 0
    assert (await statuses(second, running_id))[-1].returncode == 0
    assert (waiting.directory / "ledger").read_text() == "ran\n"


async def test_the_next_slot_of_memory_is_of_who_has_none(
    make: Callable[..., Scheduler], place: Place
) -> None:
    first = make("memory", slots=1)
    many = [submission(place, WAITS, submitter="many", job_id=number) for number in range(20)]
    single = submission(place, WAITS, submitter="single", job_id=20)
    for job in [*many, single]:
        await first.submit(job)
    await until((many[0].directory / "ready").exists)
    (many[0].directory / "go").touch()
    await until((single.directory / "ready").exists)
    assert not (many[1].directory / "ready").exists()
    await first.close()
    # What has the slot keeps it, though others were there before it.
    second = make("memory", slots=1)
    waiting, going_on = [await anext(second.watch(job.token)) for job in (many[1], single)]
    assert waiting.reason is not None
    assert going_on.reason is None
    (single.directory / "go").touch()
    await until((many[1].directory / "ready").exists)


async def test_eager_has_a_time_limit(make: Callable[..., Scheduler], place: Place) -> None:
    end, _ = await run(make("eager", timeout=0.2), place, "sleep 1000")
    assert isinstance(end.failure, TimeLimitExceeded)
    assert str(end.failure) == "The command ran longer than the 0.2 s it is allowed."


async def test_eager_waits_while_the_machine_is_loaded(
    make: Callable[..., Scheduler], place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = [1e9]
    monkeypatch.setattr(os, "getloadavg", lambda: (load[0], 0.0, 0.0))
    scheduler, job = make("eager"), submission(place, "true")
    scheduler_id = await scheduler.submit(job)
    assert (await anext(scheduler.watch(scheduler_id))).state == "queued"
    load[0] = 0.0
    assert (await statuses(scheduler, scheduler_id))[-1].returncode == 0


@pytest.mark.parametrize("kind", ["memory", "eager"])
async def test_a_command_that_cannot_start_keeps_no_slot(
    make: Callable[..., Scheduler], place: Place, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    async def away(name: str) -> dict[str, str]:
        raise OSError("Prefect is away")

    monkeypatch.setattr(CommandEnvironment, "read", away)
    scheduler = make(kind, environment="my-block")
    jobs = [submission(place, "true") for _ in range(5)]
    ids = [await scheduler.submit(job) for job in jobs]
    for scheduler_id in ids:
        await scheduler.cancel(scheduler_id)
        await scheduler.forget(scheduler_id)
    monkeypatch.undo()
    monkeypatch.setattr(CommandEnvironment, "read", staticmethod(no_variables))
    end, _ = await run(scheduler, place, "true")
    assert end.returncode == 0


async def no_variables(name: str) -> dict[str, str]:
    return {}


@pytest.mark.parametrize("kind", ["memory", "eager"])
async def test_what_is_half_removed_does_not_keep_others_from_being_taken_over(
    make: Callable[..., Scheduler], place: Place, kind: str
) -> None:
    first, job = make(kind), submission(place, "while [ ! -e go ]; do sleep 0.01; done; exit 4")
    scheduler_id = await first.submit(job)
    await until((job.directory / "stdout.txt").exists)
    await first.close()
    (place.commands / "here" / str(uuid.uuid4()) / "started").mkdir(parents=True)
    watching = asyncio.create_task(statuses(make(kind), scheduler_id))
    (job.directory / "go").touch()
    assert (await watching)[-1].returncode == 4
