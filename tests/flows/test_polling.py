"""Questions that many share."""

import asyncio
from collections.abc import Collection

import pytest

from flows.errors import Unavailable
from flows.polling import SHARE, Batcher


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
    answers = await asyncio.gather(*(batcher.answer(key % 500, age=0) for key in range(1000)))
    assert answers == [10 * (key % 500) for key in range(1000)]
    assert oracle.asked == [set(range(500))]
    await batcher.close()


async def test_who_comes_during_a_question_gets_the_next_one() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.may_answer.clear()
    first = asyncio.create_task(batcher.answer(1, age=0))
    while not oracle.asked:
        await asyncio.sleep(0.01)
    others = [asyncio.create_task(batcher.answer(key, age=0)) for key in (1, 2)]
    await asyncio.sleep(0)
    oracle.may_answer.set()
    assert await first == 10
    assert await asyncio.gather(*others) == [10, 20]
    assert oracle.asked == [{1}, {1, 2}]
    await batcher.close()


async def test_the_young_do_not_wait_for_the_old() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 3600.0 * SHARE)
    old = asyncio.create_task(batcher.answer(1, age=1e9))
    await asyncio.sleep(0)
    assert not oracle.asked
    await batcher.close()
    with pytest.raises(Unavailable):
        await old
    batcher = Batcher(oracle, 16.0)
    old = asyncio.create_task(batcher.answer(1, age=1e9))
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await batcher.answer(2, age=0) == 20
    assert loop.time() - began < 14
    assert await old == 10  # answered along
    await batcher.close()


async def test_questions_keep_their_distance() -> None:
    oracle, interval = Oracle(), 0.8
    batcher = Batcher(oracle, interval)
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(4):
        await batcher.answer(1, age=0)
    assert loop.time() - began >= 3 * interval / SHARE
    await batcher.close()


async def test_an_error_goes_to_all_and_the_next_question_comes() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.error = Unavailable("Nobody there.")
    errors = await asyncio.gather(*(batcher.answer(k, age=0) for k in (1, 2)), return_exceptions=True)
    assert [str(error) for error in errors] == ["Nobody there."] * 2
    assert errors[0] is not errors[1]
    oracle.error = ValueError("not to be understood")
    with pytest.raises(Unavailable):
        await batcher.answer(1, age=0)
    oracle.error = None
    assert await batcher.answer(1, age=0) == 10
    await batcher.close()


async def test_questions_become_rare_while_there_is_no_answer() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.08)
    oracle.error = Unavailable("Nobody there.")
    loop = asyncio.get_running_loop()
    began = loop.time()
    for _ in range(6):
        with pytest.raises(Unavailable):
            await batcher.answer(1, age=0)
    assert loop.time() - began >= 0.01 * (2 + 4 + 8 + 16 + 32)
    await batcher.close()


async def test_what_got_no_answer_is_asked_for_again() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 0.1)
    oracle.silent_about = {1}
    silent = asyncio.create_task(batcher.answer(1, age=0))
    assert await batcher.answer(2, age=0) == 20
    oracle.silent_about = set()
    assert await silent == 10
    await batcher.close()


async def test_who_does_not_wait_any_more_is_not_asked_for() -> None:
    oracle = Oracle()
    batcher = Batcher(oracle, 2.0)
    gone, stays = (asyncio.create_task(batcher.answer(key, age=0)) for key in (1, 2))
    await asyncio.sleep(0)
    gone.cancel()
    assert await stays == 20
    assert oracle.asked == [{2}]
    await batcher.close()


async def test_closing_leaves_nobody_waiting_and_no_task() -> None:
    oracle = Oracle()
    oracle.may_answer.clear()
    batcher = Batcher(oracle, 0.1)
    waiting = asyncio.create_task(batcher.answer(1, age=0))
    while not oracle.asked:
        await asyncio.sleep(0.01)
    await batcher.close()
    for task in (waiting, asyncio.create_task(batcher.answer(2, age=0))):
        with pytest.raises(Unavailable):
            await task
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "questions to a destination"]
