"""Questions that many share."""

import asyncio
from collections.abc import Collection

import pytest

from flows.destinations.polling import Batcher, Pace
from flows.errors import Unavailable
from tests.waiting import LONG_ENOUGH, until


class Oracle:
    """Answers when it is allowed to."""

    def __init__(self) -> None:
        self.asked: list[set[int]] = []
        self.may_answer = asyncio.Event()
        self.may_answer.set()
        self.error: Exception | None = None
        self.silent_about: set[int] = set()
        self.at_once = 0

    async def __call__(self, keys: Collection[int]) -> dict[int, int]:
        self.at_once += 1
        assert self.at_once == 1
        self.asked.append(set(keys))
        try:
            await self.may_answer.wait()
        finally:
            self.at_once -= 1
        if self.error is not None:
            raise self.error
        return {key: 10 * key for key in keys if key not in self.silent_about}


async def test_one_question_for_all() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    answers = await asyncio.gather(*(batcher.answer(key % 500, within=0) for key in range(1000)))
    assert answers == [10 * (key % 500) for key in range(1000)]
    assert oracle.asked == [set(range(500))]
    await batcher.close()


async def test_who_comes_during_a_question_gets_the_next_one() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.may_answer.clear()
    first = asyncio.create_task(batcher.answer(1, within=0))
    await until(lambda: bool(oracle.asked))
    others = [asyncio.create_task(batcher.answer(key, within=0)) for key in (1, 2)]
    await asyncio.sleep(0)
    oracle.may_answer.set()
    assert await first == 10
    assert await asyncio.gather(*others) == [10, 20]
    assert oracle.asked == [{1}, {1, 2}]
    await batcher.close()


async def test_who_is_in_a_hurry_is_not_kept_by_others() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    patient = asyncio.create_task(batcher.answer(1, within=3600))
    await asyncio.sleep(0)
    assert await asyncio.wait_for(batcher.answer(2, within=0), LONG_ENOUGH) == 20
    assert await patient == 10  # answered along
    assert oracle.asked == [{1, 2}]
    await batcher.close()


async def test_questions_keep_their_distance_whoever_asks() -> None:
    oracle, spacing = Oracle(), 0.1
    batcher = Batcher(oracle, spacing)
    loop = asyncio.get_running_loop()
    began = loop.time()

    async def asks(key: int) -> None:
        while len(oracle.asked) < 5:
            await batcher.answer(key, within=0)

    async with asyncio.timeout(LONG_ENOUGH):
        await asyncio.gather(*(asks(key) for key in range(50)))
    assert loop.time() - began >= 4 * spacing
    await batcher.close()


async def test_nobody_asks_sooner_than_somebody_wants_to_know() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.01)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await asyncio.gather(*(batcher.answer(key, within=0.3 + key / 100) for key in range(50)))
    assert loop.time() - began >= 0.3
    assert len(oracle.asked) == 1
    await batcher.close()


def test_the_interval_grows_with_the_age_of_the_job() -> None:
    pace = Pace(shortest=1, longest=4)
    assert [pace.interval(age) for age in (0, 5, 10, 20, 1e9)] == [1, 1, 2, 4, 4]
    assert Pace(shortest=60, longest=4).interval(1e9) == 60


async def test_an_error_goes_to_all_and_the_next_question_comes() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.error = Unavailable("Nobody there.")
    errors = await asyncio.gather(*(batcher.answer(k, within=0) for k in (1, 2)), return_exceptions=True)
    assert [str(error) for error in errors] == ["Nobody there."] * 2
    assert errors[0] is not errors[1]
    oracle.error = ValueError("not to be understood")
    with pytest.raises(Unavailable):
        await batcher.answer(1, within=0)
    oracle.error = None
    assert await batcher.answer(1, within=0) == 10
    await batcher.close()


async def test_questions_become_rare_while_there_is_no_answer() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.01)
    oracle.error = Unavailable("Nobody there.")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(6):
        with pytest.raises(Unavailable):
            await batcher.answer(1, within=0)
    assert loop.time() - began >= 0.01 * (2 + 4 + 8 + 16 + 32) / 2  # chance takes up to half of each
    await batcher.close()


async def test_what_got_no_answer_is_asked_for_again() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.silent_about = {1}
    silent = asyncio.create_task(batcher.answer(1, within=0))
    assert await batcher.answer(2, within=0) == 20
    oracle.silent_about = set()
    assert await silent == 10
    await batcher.close()


async def test_who_does_not_wait_any_more_is_not_asked_for() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    gone, stays = (asyncio.create_task(batcher.answer(key, within=0.2)) for key in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 20
    assert oracle.asked == [{2}]
    await batcher.close()


async def test_closing_leaves_nobody_waiting_and_no_task() -> None:
    oracle = Oracle()
    oracle.may_answer.clear()
    batcher = Batcher(oracle, 0.1)
    waiting = asyncio.create_task(batcher.answer(1, within=0))
    await until(lambda: bool(oracle.asked))
    await batcher.close()
    for task in (waiting, asyncio.create_task(batcher.answer(2, within=0))):
        with pytest.raises(Unavailable):
            await task
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "questions to a destination"]


class Turns:
    """Says how long to wait, again and again, or does not know."""

    def __init__(self, waits: list[float], error: Exception | None = None) -> None:
        self.waits = waits
        self.error = error

    async def take(self, spacing: float) -> float:
        if self.error is not None:
            raise self.error
        return self.waits.pop(0)


async def test_who_comes_while_others_have_their_turn_is_in_the_same_question() -> None:
    oracle, turns = Oracle(), Turns([0.05, 0.05, 0.0])
    batcher = Batcher(oracle, 0.001, turns)
    first = asyncio.create_task(batcher.answer(1, within=0))
    await until(lambda: len(turns.waits) < 3)
    second = asyncio.create_task(batcher.answer(2, within=0))
    await asyncio.gather(first, second)
    assert oracle.asked == [{1, 2}]
    await batcher.close()


async def test_where_turns_are_not_known_it_asks_all_the_same() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.001, Turns([], Unavailable("The database does not answer.")))
    await batcher.answer(1, within=0)
    assert oracle.asked == [{1}]
    await batcher.close()
