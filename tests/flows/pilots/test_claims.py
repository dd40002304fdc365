"""What pilots rely on of Prefect: who gets a run, and what a claim that comes late does."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from flows.destinations.scheduler import Status
from flows.pilots import pool, words
from flows.pilots.rest import PrefectRest
from flows.pilots.submitting import Runs, Wanted
from flows.pilots.watching import Watched
from flows.pilots.words import Claim
from tests.flows.pilots.test_words import ORDER
from tests.pilots import new_pool, prefect_rest

pytestmark = pytest.mark.usefixtures("prefect_server")


@pytest_asyncio.fixture
async def rest(prefect_server: None) -> AsyncIterator[PrefectRest]:
    async with prefect_rest() as rest:
        yield rest


@pytest_asyncio.fixture
async def runs(rest: PrefectRest) -> AsyncIterator[Runs]:
    runs = Runs(rest, new_pool())
    yield runs
    await runs.close()


async def made(runs: Runs) -> str:
    return await runs.make(Wanted(str(uuid.uuid4()), ORDER, "a run"))


def claims(number: int) -> list[Claim]:
    return [Claim(f"pilot-{n}", str(uuid.uuid4())) for n in range(number)]


async def test_one_of_all_that_claim_a_run_gets_it(runs: Runs, rest: PrefectRest) -> None:
    for _ in range(3):
        run = await made(runs)
        answers = await asyncio.gather(*(rest.set_state(run, words.taken(claim)) for claim in claims(8)))
        assert [done for done, _ in answers].count(True) == 1
        assert not (await rest.set_state(run, words.taken(claims(1)[0])))[0]  # Pending to Pending


async def test_a_claim_may_be_asked_again(runs: Runs, rest: PrefectRest) -> None:
    run, [claim, other] = await made(runs), claims(2)
    assert (await rest.set_state(run, words.taken(claim)))[0]
    await rest.set_state(run, words.taken(claim))
    await rest.set_state(run, words.taken(other))
    states = await rest.states(run)
    assert [state["type"] for state in states] == ["SCHEDULED", "PENDING"]
    assert words.is_of(claim, states)
    assert not words.is_of(other, states)


async def test_a_claim_that_comes_after_the_end_is_known_by_that(runs: Runs, rest: PrefectRest) -> None:
    [claim, late] = claims(2)
    for end, may_leave in ((Status(state="ended", returncode=1), False), (_failed(), True)):
        run = await made(runs)
        _, state = await rest.set_state(run, words.taken(claim))
        assert not words.is_late_claim(state)
        await rest.set_state(run, words.ended(claim, end))
        done, state = await rest.set_state(run, words.taken(late))
        assert done == may_leave
        assert not done or words.is_late_claim(state)


def _failed() -> Status:
    return words.status_of({"state": words.lost(Claim("p", "c"), "gone", is_run_again=False)})


async def test_a_token_has_one_run_whoever_asks(runs: Runs, rest: PrefectRest) -> None:
    tokens = [str(uuid.uuid4()) for _ in range(30)]  # more than are made in a call
    first = await asyncio.gather(*(runs.make(Wanted(token, ORDER, "a run")) for token in tokens))
    again = await asyncio.gather(*(runs.make(Wanted(token, None)) for token in tokens))
    assert first == again
    assert len(set(first)) == len(tokens)


async def test_what_is_cancelled_before_it_is_made_never_begins(runs: Runs, rest: PrefectRest) -> None:
    token = str(uuid.uuid4())
    blocked = await runs.make(Wanted(token, None))
    assert await runs.make(Wanted(token, ORDER, "late")) == blocked
    assert not (await rest.set_state(blocked, words.taken(claims(1)[0])))[0]


async def test_a_pool_that_was_deleted_is_not_made_anew(rest: PrefectRest) -> None:
    name = new_pool()
    first = await pool.deployment(rest, name)
    assert await pool.deployment(rest, name) == first
    await rest.tell("DELETE", f"/work_pools/{name}")
    for _ in range(2):
        with pytest.raises(Exception, match="was deleted in Prefect"):
            await pool.deployment(rest, name)
    await rest.tell("DELETE", f"/deployments/{first}")
    assert await pool.deployment(rest, name) != first


async def test_a_pool_of_others_is_left_alone(rest: PrefectRest) -> None:
    name = new_pool()
    await rest.tell("POST", "/work_pools/", {"name": name, "type": "process"})
    with pytest.raises(Exception, match="is of the type process"):
        await pool.deployment(rest, name)


async def test_what_runs_is_watched_after_its_deployment_was_made_anew(rest: PrefectRest) -> None:
    name = new_pool()
    first, runs = await pool.deployment(rest, name), Runs(rest, name)
    begun, waits = await made(runs), await made(runs)
    await runs.close()
    [claim] = claims(1)
    await rest.set_state(begun, words.taken(claim))
    await rest.tell("DELETE", f"/work_pools/{name}")
    await rest.tell("DELETE", f"/deployments/{first}")
    found = await Watched(rest).read(await pool.deployment(rest, name), [begun, waits])
    assert (run := found[begun]) is not None
    assert words.claim_of(run["state"]) == claim
    assert found[waits] is None  # to be submitted again
