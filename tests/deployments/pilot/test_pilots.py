"""Real pilots at a real Prefect server: killed, frozen, cut off, stopped."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from deployments.serving.prefect_server import EmbeddedPrefect
from flows.destinations.scheduler import Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import DestinationFailed, JobCancelled, TimeLimitExceeded
from flows.pilots import scheduling, words
from flows.pilots.rest import NotFound, PrefectRest
from flows.schedulers.pilot import Scheduler
from flows.ssh.connections import Connections
from tests.flows.submitting import has_ended, statuses, submission
from tests.pilots import Pilot, Way, make_pool, new_pool, prefect_rest
from tests.waiting import LONG_ENOUGH, until

pytestmark = pytest.mark.usefixtures("prefect_server")

WAITS = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; exit 4"


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "data", tmp_path / "jobs")


@pytest_asyncio.fixture
async def rest(prefect_server: None) -> AsyncIterator[PrefectRest]:
    async with prefect_rest() as rest:
        yield rest


@pytest_asyncio.fixture
async def pool(prefect_server: None) -> str:
    name = new_pool()
    await make_pool(name)
    return name


Start = Callable[..., Pilot]


@pytest_asyncio.fixture
async def start(shared_prefect: EmbeddedPrefect, pool: str, tmp_path: Path) -> AsyncIterator[Start]:
    """Start a pilot of the pool by its name."""
    started: list[Pilot] = []

    def start(name: str, *options: str, **variables: str) -> Pilot:
        environment = {**shared_prefect.client_environment(), **variables}
        options = ("--work-pool", pool, "--name", name, *options)
        started.append(Pilot(tmp_path / name, environment, *options).start())
        return started[-1]

    yield start
    for pilot in started:
        await asyncio.to_thread(pilot.end)


Make = Callable[..., Scheduler]


@pytest_asyncio.fixture
async def make(place: Place, pool: str) -> AsyncIterator[Make]:
    """Make the scheduler of the pool; ``lost_after`` may be shorter than a configuration allows."""
    made: list[Scheduler] = []
    connections = Connections()

    def make(*, lost_after: float | None = None, **keys: Any) -> Scheduler:
        config = Scheduler.Config(work_pool=pool, poll_interval=0.1, max_poll_interval=0.3, **keys)
        if lost_after is not None:
            config = config.model_copy(update={"lost_after": lost_after})
        made.append(Scheduler(config, Surroundings(place, "there", connections)))
        return made[-1]

    yield make
    for scheduler in made:
        await scheduler.close()
    await connections.close()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pilots that were silent for 4 s are not there."""
    monkeypatch.setattr(scheduling, "HEARD_WITHIN", 4.0)
    monkeypatch.setattr(scheduling, "PILOTS_INTERVAL", 0.5)


async def run_of(rest: PrefectRest, scheduler_id: str) -> dict[str, Any]:
    return await rest.run(scheduler_id.partition(".")[2])


async def until_state(rest: PrefectRest, scheduler_id: str, *kinds: str) -> dict[str, Any]:
    async with asyncio.timeout(LONG_ENOUGH):
        while words.kind_of(run := await run_of(rest, scheduler_id)) not in kinds:
            await asyncio.sleep(0.1)
    return run


async def has_begun(job: Submission) -> None:
    await until((job.directory / "ledger").exists)


def ledger(job: Submission) -> str:
    return (job.directory / "ledger").read_text()


def go(job: Submission) -> None:
    (job.directory / "go").touch()


async def last(scheduler: Scheduler, scheduler_id: str) -> Status:
    return (await statuses(scheduler, scheduler_id))[-1]


async def test_a_pilot_that_was_killed_adopts_its_commands(start: Start, make: Make, place: Place) -> None:
    scheduler, pilot = make(job_timeout=900), start("one", "--max-jobs=2")
    goes_on, ends_alone = submission(place, WAITS), submission(place, WAITS)
    ids = [await scheduler.submit(job) for job in (goes_on, ends_alone)]
    await asyncio.gather(has_begun(goes_on), has_begun(ends_alone))
    pilot.kill()
    go(ends_alone)
    await until((ends_alone.directory / "returncode").exists)
    pilot.start()
    assert (await last(scheduler, ids[1])).returncode == 4
    go(goes_on)
    assert (await last(scheduler, ids[0])).returncode == 4
    assert ledger(goes_on) == ledger(ends_alone) == "ran\n"


async def test_what_a_pilot_has_forgotten_goes_on(
    start: Start, make: Make, place: Place, tmp_path: Path
) -> None:
    scheduler, pilot = make(), start("one")
    job = submission(place, WAITS)
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    pilot.kill()
    [entry] = tmp_path.glob("one/pilots/one/ledger/*/*.json")
    entry.unlink()  # as a power cut may
    pilot.start()
    await until(lambda: "is this pilot's" in pilot.said)
    go(job)
    assert (await last(scheduler, scheduler_id)).returncode == 4
    assert ledger(job) == "ran\n"


async def test_a_frozen_pilot_runs_nothing_that_was_given_to_another(
    start: Start, make: Make, place: Place, rest: PrefectRest, hasty: None
) -> None:
    scheduler, first = make(on_lost="rerun", lost_after=6), start("first")
    job = submission(place, WAITS)
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    claim = words.claim_of((await until_state(rest, scheduler_id, "RUNNING"))["state"])
    first.freeze()
    assert (await last(scheduler, scheduler_id)).state == "lost"
    (job.directory / "ledger").unlink()
    start("second")
    assert await scheduler.submit(job) == scheduler_id
    await has_begun(job)
    now = words.claim_of((await until_state(rest, scheduler_id, "RUNNING"))["state"])
    assert claim is not None
    assert now is not None
    assert now.pilot != claim.pilot
    first.thaw()
    await until(lambda: "let go of" in first.said)
    go(job)
    assert (await last(scheduler, scheduler_id)).returncode == 4
    assert ledger(job) == "ran\n"


async def test_a_lost_pilots_job_fails_with_the_reason(
    start: Start, make: Make, place: Place, hasty: None
) -> None:
    scheduler, pilot = make(lost_after=6), start("gone")
    job = submission(place, "echo $$ >ledger; exec sleep 1000")
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    pilot.kill()
    end = await last(scheduler, scheduler_id)
    assert isinstance(end.failure, DestinationFailed)
    assert "gone-" in str(end.failure)
    pilot.start()  # what it left is ended, since its job has
    await until(lambda: has_ended(int(ledger(job))))


async def test_a_command_goes_on_while_prefect_is_away(
    start: Start, make: Make, place: Place, shared_prefect: EmbeddedPrefect
) -> None:
    way = Way(shared_prefect.api_url)
    await way.open()
    scheduler, pilot = make(), start("cut-off", PREFECT_API_URL=way.url)
    job = submission(place, WAITS)
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    await way.shut()
    go(job)
    await until((job.directory / "returncode").exists)
    await until(lambda: "waits; trying again" in pilot.said)
    await way.open()
    assert (await last(scheduler, scheduler_id)).returncode == 4
    await asyncio.to_thread(pilot.end)
    await way.shut()


async def test_an_operators_cancellation_ends_the_command(
    start: Start, make: Make, place: Place, rest: PrefectRest
) -> None:
    scheduler = make()
    start("one")
    job = submission(place, "echo $$ >ledger; exec sleep 1000")
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    await rest.set_state(scheduler_id.partition(".")[2], words.cancelling())
    end = await last(scheduler, scheduler_id)
    assert isinstance(end.failure, JobCancelled)
    assert has_ended(int(ledger(job)))


async def test_a_run_that_an_operator_deletes_or_ends_does_not_go_on(
    start: Start, make: Make, place: Place, rest: PrefectRest
) -> None:
    scheduler = make()
    start("one", "--max-jobs=2")
    jobs = [submission(place, "echo $$ >ledger; exec sleep 1000") for _ in range(2)]
    ids = [await scheduler.submit(job) for job in jobs]
    await asyncio.gather(*map(has_begun, jobs))
    await rest.force_state(ids[0].partition(".")[2], {"type": "COMPLETED"})
    await rest.tell("DELETE", f"/flow_runs/{ids[1].partition('.')[2]}")
    await until(lambda: all(has_ended(int(ledger(job))) for job in jobs))
    assert isinstance((await last(scheduler, ids[0])).failure, DestinationFailed)


async def test_nothing_begins_while_the_pool_is_paused(
    start: Start, make: Make, place: Place, rest: PrefectRest, pool: str, hasty: None
) -> None:
    scheduler = make()
    job = submission(place, WAITS)
    watching = scheduler.watch(await scheduler.submit(job))
    reasons: list[str | None] = []

    async def until_reason(part: str) -> None:
        async with asyncio.timeout(LONG_ENOUGH):
            async for status in watching:
                reasons.append(status.reason)
                if part in (status.reason or ""):
                    return

    await until_reason("none of the work pool")
    await rest.tell("PATCH", f"/work_pools/{pool}", {"is_paused": True})
    start("one")
    await until_reason("is paused")
    assert not (job.directory / "ledger").exists()
    await rest.tell("PATCH", f"/work_pools/{pool}", {"is_paused": False})
    go(job)
    assert [status async for status in watching][-1].returncode == 4


async def test_the_time_limit_is_of_the_whole_group(start: Start, make: Make, place: Place) -> None:
    scheduler = make(job_timeout="PT1S")
    start("one")
    job = submission(place, "trap '' TERM; sleep 1000 & echo $! >ledger; wait")
    end = await last(scheduler, await scheduler.submit(job))
    assert isinstance(end.failure, TimeLimitExceeded)
    assert has_ended(int(ledger(job)))


async def test_two_pilots_share_the_jobs_and_each_runs_once(start: Start, make: Make, place: Place) -> None:
    scheduler = make()
    pilots = [start(name, "--max-jobs=2", "--idle-timeout=3") for name in ("one", "two")]
    jobs = [submission(place, "echo ran >>ledger; sleep 0.2") for _ in range(20)]
    ids = await asyncio.gather(*map(scheduler.submit, jobs))
    ends = await asyncio.gather(*(last(scheduler, id_) for id_ in ids))
    assert {end.returncode for end in ends} == {0}
    assert {ledger(job) for job in jobs} == {"ran\n"}
    assert [pilot.wait() for pilot in pilots] == [0, 0]  # idle


async def test_a_pilot_takes_no_job_that_would_not_fit(
    start: Start, make: Make, place: Place, rest: PrefectRest
) -> None:
    long, short = make(job_timeout=3600), make(job_timeout=5)
    too_long, fits, goes_on = (submission(place, WAITS) for _ in range(3))
    long_id = await long.submit(too_long)
    start("brief", "--time-left=60", "--max-jobs=2")
    go(fits)
    assert (await last(short, await short.submit(fits))).returncode == 4
    assert words.kind_of(await run_of(rest, long_id)) == "SCHEDULED"
    assert not (goes_on.directory / "ledger").exists()


async def test_commands_end_with_a_pilot_whose_time_is_over(start: Start, make: Make, place: Place) -> None:
    scheduler, pilot = make(), start("over", "--end-commands")
    job = submission(place, "echo $$ >ledger; exec sleep 1000")
    scheduler_id = await scheduler.submit(job)
    await has_begun(job)
    pilot.process.terminate()
    end = await last(scheduler, scheduler_id)
    assert isinstance(end.failure, DestinationFailed)
    assert "stopped" in str(end.failure)
    assert has_ended(int(ledger(job)))
    assert pilot.wait() == 0


async def test_a_pilot_never_makes_a_pool_anew(
    start: Start, make: Make, place: Place, rest: PrefectRest, pool: str
) -> None:
    scheduler, pilot = make(), start("one")
    job = submission(place, WAITS)
    await scheduler.submit(job)
    await has_begun(job)
    await rest.tell("DELETE", f"/work_pools/{pool}")
    await until(lambda: "is gone: nothing more is taken" in pilot.said)
    with pytest.raises(NotFound):
        await rest.ask("GET", f"/work_pools/{pool}")
    go(job)
    await until((job.directory / "returncode").exists)


async def test_a_directory_that_is_not_there_is_no_end_of_a_job(
    start: Start, make: Make, place: Place, rest: PrefectRest
) -> None:
    scheduler = make()
    start("far-off")
    elsewhere = Submission(
        token=str(uuid.uuid4()),
        job_id=3,
        application="a",
        submitter="me",
        command="true",
        directory=Path("/nowhere/jobs/3"),
    )
    scheduler_id = await scheduler.submit(elsewhere)
    async with asyncio.timeout(LONG_ENOUGH):
        while "disk shared" not in str((await run_of(rest, scheduler_id))["state"]["message"]):
            await asyncio.sleep(0.1)
    assert words.kind_of(await run_of(rest, scheduler_id)) == "SCHEDULED"


async def test_mistakes_are_one_line(
    shared_prefect: EmbeddedPrefect, tmp_path: Path, rest: PrefectRest
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(
        "applications: {wc: {command_template: wc}}\n"
        "destinations:\n"
        "  here: {scheduler: {type: memory}, filesystem: {type: local}}\n"
        "  there: {scheduler: {type: pilot, work_pool: not-there}, filesystem: {type: local}}\n"
    )
    process, newer = new_pool(), new_pool()
    await rest.tell("POST", "/work_pools/", {"name": process, "type": "process"})
    await make_pool(newer)
    path = f"/deployments/name/run-command/{newer}"
    await rest.tell("PATCH", f"/deployments/{(await rest.ask('GET', path))['id']}", {"version": "99"})
    environment = shared_prefect.client_environment()
    of_config = ["--config", str(config), "--destination"]
    mistakes = [
        (environment, [*of_config, "nowhere"], "destinations.nowhere is missing"),
        (environment, [*of_config, "here"], "needs no pilots"),
        (environment, [*of_config, "there"], "not-there is not there"),
        (environment, ["--work-pool", process], "is of the type process"),
        (environment, ["--work-pool", newer], "update Bartender here"),
        ({**environment, "PREFECT_API_URL": ""}, ["--work-pool", newer], "PREFECT_API_URL is missing"),
        ({**environment, "PREFECT_API_AUTH_STRING": "a:b"}, ["--work-pool", newer], "AUTH_STRING is refused"),
    ]
    pilots = []
    for number, (variables, options, _) in enumerate(mistakes):
        pilots.append(Pilot(tmp_path / str(number), variables, *options).start())
        if number % 2:
            await asyncio.to_thread(pilots[-1].wait)
    for pilot, (_, _, said) in zip(pilots, mistakes, strict=True):
        assert await asyncio.to_thread(pilot.wait) == 2
        [line] = pilot.said.splitlines()
        assert line.startswith("bartender: ")
        assert said in line


async def test_a_pilot_at_rest_is_small_and_online(
    start: Start, make: Make, place: Place, rest: PrefectRest, pool: str
) -> None:
    scheduler, pilot = make(), start("small")
    await last(scheduler, await scheduler.submit(submission(place, "true")))
    [worker] = await rest.ask("POST", f"/work_pools/{pool}/workers/filter", {})
    assert worker["name"].startswith("small-")
    assert worker["status"] == "ONLINE"
    rollup = Path(f"/proc/{pilot.process.pid}/smaps_rollup").read_text()
    [pss] = [int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:")]
    assert pss < 120 * 1024
    await asyncio.to_thread(pilot.end)
    assert await rest.ask("POST", f"/work_pools/{pool}/workers/filter", {}) == []  # it has signed off
