"""Jobs as tasks of a TES server. They are known by the token in their name; see ``references``."""

import asyncio
import itertools
import time
from collections.abc import AsyncIterator, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, Field

from flows.destinations.polling import Batcher, Pace, Turns
from flows.destinations.scheduler import Listed, Status, Submission
from flows.destinations.variables import BlockVariables
from flows.errors import DestinationFailed
from flows.tes import references, states
from flows.tes.references import Reference
from flows.tes.server import Server
from flows.waiting.patience import Delays

LATE_SUBMISSION = 2.0
"""Seconds in which a server works off a request whose sender got no answer."""

_SUBMISSIONS_AT_ONCE = 8
_WHILE_IT_ENDS = Delays(0.25, longest=5.0, factor=1.5)


class PollingKeys(BaseModel):
    """Intervals and ``lost_after`` in seconds. ``max_poll_interval`` is for jobs that are not new."""

    environment: str | None = Field(default=None, description="name of a command-environment block")
    poll_interval: float = Field(default=2.0, gt=0)
    max_poll_interval: float = Field(default=30.0, gt=0)
    lost_after: float = Field(default=600.0, gt=0)


@dataclass(frozen=True, slots=True)
class _Seen:
    """A task that the server knows. ``status`` is None where what it says is nothing new."""

    status: Status | None


class TesScheduler:
    """A derived class says which image and resources an application gets."""

    def __init__(self, keys: PollingKeys, server: Server, turns: Turns | None = None) -> None:
        self._server = server
        self._lost_after = keys.lost_after
        self._variables = BlockVariables(keys.environment)
        self._pace = Pace(keys.poll_interval, keys.max_poll_interval)
        self._batcher: Batcher[Reference, _Seen | None] = Batcher(self._ask, keys.poll_interval, turns)
        self._submissions = asyncio.Semaphore(_SUBMISSIONS_AT_ONCE)
        self._doubtful: dict[str, float] = {}

    def task(self, submission: Submission, variables: Mapping[str, str]) -> dict[str, Any]:
        """Return the task of a job."""
        raise NotImplementedError

    async def submit(self, submission: Submission) -> str:
        token = submission.token
        task = self.task(submission, await self._variables.variables())
        async with self._submissions:
            if (before := await self._submitted_before(token)) is not None:
                return str(Reference(token, before))
            try:
                task_id = await self._server.create(task)
            except BaseException:
                # It may have been taken, and may still be.
                self._doubtful[token] = time.monotonic()
                raise
        return str(Reference(token, task_id))

    async def _submitted_before(self, token: str) -> str | None:
        """Return the task of a submission whose answer was lost; of several, the others are cancelled."""
        found = await self._server.of_token(token)
        if token in self._doubtful and not found:
            await asyncio.sleep(LATE_SUBMISSION)
            found = await self._server.of_token(token)
        for other in found[1:]:
            await self._server.cancel(str(other["id"]))
        return str(found[0]["id"]) if found else None

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        reference = Reference.parse(scheduler_id)
        loop = asyncio.get_running_loop()
        changed = known = loop.time()
        last: Status | None = None
        while last is None or not last.is_last:
            age = loop.time() - changed
            seen = await self._batcher.answer(reference, within=self._pace.interval(age))
            now, status = loop.time(), None
            if seen is not None:
                known, status = now, seen.status
            elif now - known > self._lost_after:
                status = Status(
                    state="ended",
                    failure=DestinationFailed(
                        "The destination does not know the job any more; submit it again."
                    ),
                )
            if status is None or status == last:
                continue
            if status.failure is None and status.is_last and (last is None or last.state == "queued"):
                yield Status(state="running")  # between two questions
            if last is None or status.state != last.state:
                changed = now
            last = status
            yield status

    async def cancel(self, scheduler_id: str) -> None:
        reference = Reference.parse(scheduler_id)
        doomed = await self._ids(reference)
        if not doomed and reference.task_id is None:
            await asyncio.sleep(LATE_SUBMISSION)
            doomed = await self._ids(reference)
        delays = iter(_WHILE_IT_ENDS)
        for round_ in itertools.count():
            now = await self._server.states(doomed)
            doomed = [task_id for task_id in doomed if now.get(task_id, "CANCELED") not in states.ENDED]
            if not doomed:
                return
            if round_ % 8 == 0:
                await self.end(doomed)
            await asyncio.sleep(next(delays))

    async def _ids(self, reference: Reference) -> list[str]:
        if reference.task_id is not None:
            return [reference.task_id]
        return [str(task["id"]) for task in await self._server.of_token(reference.token)]

    async def forget(self, scheduler_id: str) -> None:
        """A server keeps what it knows of a task as long as it likes: there is no word for removing it."""
        self._doubtful.pop(Reference.parse(scheduler_id).token, None)

    async def check(self) -> None:
        await self._server.check()

    async def under_way(self) -> list[Listed]:
        listed = []
        for task in await self._server.ours():
            parts = references.parts(str(task.get("name")))
            if parts is not None and task.get("state") not in states.ENDED | {"CANCELING"}:
                listed.append(Listed(scheduler_id=str(task["id"]), token=parts[0], installation=parts[1]))
        return listed

    async def end(self, scheduler_ids: Collection[str]) -> None:
        for task_id in scheduler_ids:
            await self._server.cancel(task_id)

    async def close(self) -> None:
        await self._batcher.close()
        await self._server.close()

    # One question for all tasks

    async def _ask(self, questions: Collection[Reference]) -> Mapping[Reference, _Seen | None]:
        ids: dict[Reference, str] = {}
        for reference in questions:
            if found := await self._ids(reference):
                ids[reference] = found[0]
        now = await self._server.states(set(ids.values()))
        answers: dict[Reference, _Seen | None] = dict.fromkeys(questions)
        for reference, task_id in ids.items():
            state = now.get(task_id)
            if state in states.ENDED:
                answers[reference] = _Seen(await self._end_of(task_id))
            elif state is not None:
                answers[reference] = _Seen(states.WAITING.get(state))
        return answers

    async def _end_of(self, task_id: str) -> Status | None:
        task = await self._server.task(task_id, "FULL")
        if task is None or task.get("state") not in states.ENDED:
            return None  # it is run again
        return states.ended(task)


def image_of(template: str, application: str) -> str:
    """Return the image of an application: the template may have its name, and nothing else."""
    return template.replace("{{ application }}", application)
