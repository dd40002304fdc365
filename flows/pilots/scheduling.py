"""The scheduler of pilots: makes runs of commands in Prefect, and reads what pilots say of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from flows.destinations.polling import Batcher, Pace
from flows.destinations.scheduler import Listed, Status, Submission
from flows.destinations.surroundings import Surroundings
from flows.errors import DestinationFailed, Unavailable
from flows.pilots import words
from flows.pilots.orders import OnLost, Order
from flows.pilots.rest import Login, NotFound, PrefectRest
from flows.pilots.submitting import Runs, Wanted
from flows.pilots.watching import Presence, Watched, holder
from flows.transfers.offers import Offer
from flows.waiting.patience import Delays

HEARD_WITHIN = 60.0
"""Seconds since its last sign in which a pilot counts as there: it gives one each 15 s."""

PILOTS_INTERVAL = 10.0
_WHILE_IT_ENDS = Delays(0.25, longest=2.0, factor=1.5)
_GONE = DestinationFailed("The run of the command was deleted in Prefect before it had ended.")


class PilotKeys(BaseModel):
    """Intervals, ``job_timeout`` and ``lost_after`` in seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    work_pool: str | None = Field(default=None, pattern=r"^[\w. -]+$")
    max_jobs: int = Field(default=1, ge=1)
    job_timeout: float | None = Field(default=None, gt=0)
    on_lost: OnLost = "fail"
    lost_after: float = Field(default=600.0, gt=HEARD_WITHIN)
    environment: str | None = Field(default=None, description="name of a command-environment block")
    poll_interval: float = Field(default=0.5, gt=0)
    max_poll_interval: float = Field(default=2.0, gt=0)

    def pool(self, destination: str) -> str:
        """Return the name of the work pool of a destination."""
        return self.work_pool or destination


@dataclass(frozen=True, slots=True)
class _Reference:
    """``<token>.<run>``: the token alone is what others have after a crash."""

    token: str
    run: str | None = None

    @classmethod
    def parse(cls, scheduler_id: str) -> "_Reference":
        token, _, run = scheduler_id.partition(".")
        return cls(token, run or None)

    def __str__(self) -> str:
        return f"{self.token}.{self.run}"


class PilotScheduler:
    """Who has a run is in its state. A pilot is gone when others could be heard of, and it was silent."""

    commands_are_here: ClassVar[bool] = False

    def __init__(self, keys: PilotKeys, surroundings: Surroundings) -> None:
        self._keys = keys
        self._destination = surroundings.destination
        self._filesystem = surroundings.filesystem
        self._place = surroundings.place
        self._pool = keys.pool(surroundings.destination)
        self._pace = Pace(keys.poll_interval, keys.max_poll_interval)
        self._batcher: Batcher[str, Status] = Batcher(self._ask, keys.poll_interval, surroundings.turns)
        self._holders: dict[str, words.Claim] = {}
        self._waiting: set[str] = set()
        self._to_be_run_again: set[str] = set()
        self._looked = -PILOTS_INTERVAL
        self._opened: tuple[PrefectRest, Runs, Watched, Presence] | None = None

    def _parts(self) -> tuple[PrefectRest, Runs, Watched, Presence]:
        if self._opened is None:
            rest = PrefectRest(Login.of_settings())
            presence = Presence(rest, self._pool, heard_within=HEARD_WITHIN, lost_after=self._keys.lost_after)
            self._opened = rest, Runs(rest, self._pool), Watched(rest), presence
        return self._opened

    async def submit(self, submission: Submission) -> str:
        _, runs, _, _ = self._parts()
        order = Order(
            token=submission.token,
            job_id=submission.job_id,
            application=submission.application,
            command=submission.command,
            directory=str(submission.directory),
            destination=self._destination,
            filesystem=self._filesystem,
            time_limit=self._keys.job_timeout,
            environment=self._keys.environment,
            on_lost=self._keys.on_lost,
            installation=submission.installation,
        )
        tags = (f"application:{order.application}", f"destination:{order.destination}")
        name = f"{order.application}-{order.job_id}"
        run = await runs.make(Wanted(order.token, order, name, tags))
        if run in self._to_be_run_again:
            await self._let_run_again(run)
        return str(_Reference(submission.token, run))

    async def _let_run_again(self, id_: str) -> None:
        """Let another pilot take a run that was made before, where its own is gone."""
        rest, _, watched, _ = self._parts()
        run = await rest.run(id_)
        if words.is_to_be_run_again(run["state"]):
            order = Order.read(run["parameters"])
            if order.filesystem == "http":
                offer = Offer(self._place.job_dir(order.job_id), order.token)
                await asyncio.to_thread(offer.give_anew, order.turn)
            order = order.again()
            await rest.tell("PATCH", f"/flow_runs/{id_}", {"parameters": order.parameters()})
            await rest.set_state(id_, words.to_be_taken(f"Run again: {run['state']['message']}"))
            watched.forget(id_)
        self._to_be_run_again.discard(id_)

    async def watch(self, scheduler_id: str) -> AsyncIterator[Status]:
        run = _Reference.parse(scheduler_id).run or await self._run_of(scheduler_id)
        loop = asyncio.get_running_loop()
        changed, last = loop.time(), None
        while last is None or not last.is_last:
            status = await self._batcher.answer(run, within=self._pace.interval(loop.time() - changed))
            if status == last:
                continue
            if status.returncode is not None and (last is None or last.state == "queued"):
                yield Status(state="running")  # between two questions
            if last is None or status.state != last.state:
                changed = loop.time()
            last = status
            yield status

    async def _run_of(self, token: str) -> str:
        """Return the id of a token's run. Where there is none yet, there is one then that never begins."""
        _, runs, _, _ = self._parts()
        return await runs.make(Wanted(token, None))

    async def cancel(self, scheduler_id: str) -> None:
        rest, _, _, _ = self._parts()
        reference = _Reference.parse(scheduler_id)
        run = reference.run or await self._run_of(reference.token)
        try:
            _, state = await rest.set_state(run, words.cancelling())
        except NotFound:
            return
        if state.get("type") in words.FINAL:
            return
        delays = iter(_WHILE_IT_ENDS)
        while not (await self._batcher.answer(run, within=next(delays))).is_last:
            pass

    async def forget(self, scheduler_id: str) -> None:
        """The run stays for a while: as long as it is there, none can come to be of its token."""
        run = _Reference.parse(scheduler_id).run
        if run is not None:
            self._holders.pop(run, None)
            self._waiting.discard(run)
            if self._opened is not None:
                self._opened[2].forget(run)

    async def check(self) -> None:
        rest, runs, _, _ = self._parts()
        runs.doubt()
        await runs.deployment()
        await rest.tell("GET", "/health")

    async def under_way(self) -> list[Listed]:
        rest, runs, _, _ = self._parts()
        kinds = sorted(words.UNDER_WAY | {"SCHEDULED"})
        found = await rest.runs({"state": {"type": {"any_": kinds}}}, deployment=await runs.deployment())
        listed = []
        for run in found:
            said = run.get("parameters") or {}
            token = str(said.get("token") or run.get("idempotency_key"))
            listed.append(
                Listed(
                    scheduler_id=str(_Reference(token, run["id"])),
                    token=token,
                    installation=str(said.get("installation") or ""),
                )
            )
        return listed

    async def end(self, scheduler_ids: Collection[str]) -> None:
        rest, _, _, _ = self._parts()
        for scheduler_id in scheduler_ids:
            await rest.set_state(str(_Reference.parse(scheduler_id).run), words.cancelling())

    async def close(self) -> None:
        await self._batcher.close()
        if self._opened is not None:
            rest, runs, _, _ = self._opened
            await runs.close()
            await rest.close()

    # One question for all runs

    async def _ask(self, ids: Collection[str]) -> Mapping[str, Status]:
        _, runs, watched, presence = self._parts()
        try:
            deployment = await runs.deployment()
            found = await watched.read(deployment, ids)
            for id_, run in found.items():
                claim = None if run is None else holder(run, self._holders.get(id_))
                self._remember(id_, claim)
            await self._look_at_pilots(presence)
        except Unavailable:
            presence.doubt()
            runs.doubt()
            raise
        return {id_: await self._status(id_, run) for id_, run in found.items()}

    def _remember(self, id_: str, claim: words.Claim | None) -> None:
        if claim is None:
            self._holders.pop(id_, None)
        else:
            self._holders[id_] = claim

    async def _look_at_pilots(self, presence: Presence) -> None:
        if time.monotonic() - self._looked < PILOTS_INTERVAL:
            return
        _, runs, _, _ = self._parts()
        pilots = {claim.pilot for claim in self._holders.values()}
        try:
            await presence.look(pilots)
        except NotFound as error:
            runs.doubt()
            raise Unavailable(f"The work pool {self._pool} is gone.") from error
        self._looked = time.monotonic()

    async def _status(self, id_: str, run: dict[str, Any] | None) -> Status:
        _, _, _, presence = self._parts()
        if run is None:
            # One that waited was deleted, with its deployment perhaps. Should a pilot have begun it since,
            # what that noted beside the files keeps any other from it.
            return Status(state="lost") if id_ in self._waiting else Status(state="ended", failure=_GONE)
        kind = words.kind_of(run)
        (self._waiting.add if kind == "SCHEDULED" else self._waiting.discard)(id_)
        if kind == "SCHEDULED" and run.get("work_queue_id") is None:
            return await self._make_anew(id_)
        if kind in words.UNDER_WAY and await self._is_lost(id_, run):
            return await self._give_up(id_, run)
        if words.is_to_be_run_again(run["state"]):
            self._to_be_run_again.add(id_)
        status = words.status_of(run)
        return replace(status, reason=presence.waits_for) if kind == "SCHEDULED" else status

    async def _make_anew(self, id_: str) -> Status:
        """Remove a run whose work pool was deleted, so that no pilot ever gets it; it is submitted again."""
        rest, _, _, _ = self._parts()
        with suppress(NotFound):
            await rest.tell("DELETE", f"/flow_runs/{id_}")
        return Status(state="lost")

    async def _is_lost(self, id_: str, run: dict[str, Any]) -> bool:
        """Whether the pilot that has the run is gone."""
        rest, _, _, presence = self._parts()
        if id_ not in self._holders:
            # Cancelled before we knew who has it.
            claims = [words.claim_of(state) for state in await rest.states(id_)]
            self._remember(id_, next((claim for claim in reversed(claims) if claim is not None), None))
        claim = self._holders.get(id_)
        return claim is not None and presence.is_lost(claim.pilot)

    async def _give_up(self, id_: str, run: dict[str, Any]) -> Status:
        """Fail the run of a pilot that is gone, or let another pilot take it."""
        _, _, watched, _ = self._parts()
        try:
            return await self._say_that_it_is_lost(id_, run)
        except NotFound:
            return words.status_of(run)  # it was deleted just now: the next question finds that
        finally:
            watched.forget(id_)  # read anew: what it is by now, its pilot may have said just then

    async def _say_that_it_is_lost(self, id_: str, run: dict[str, Any]) -> Status:
        rest, _, _, _ = self._parts()
        claim = self._holders[id_]
        text = f"The pilot {claim.pilot} has not been heard of for {self._keys.lost_after:g} s."
        if words.kind_of(run) == "CANCELLING":
            state = words.cancelled()
        elif (ended := await self._ended_before(id_)) is not None:
            state = ended
        else:
            state = words.lost(claim, text, is_run_again=self._keys.on_lost == "rerun")
        done, now = await rest.set_state(id_, state)
        if done and words.is_to_be_run_again(now):
            self._to_be_run_again.add(id_)
        return words.status_of({"state": now} if done else run)

    async def _ended_before(self, id_: str) -> dict[str, Any] | None:
        """Return the end that the run had before a late claim took that away."""
        rest, _, _, _ = self._parts()
        states = await rest.states(id_)
        if not states or not words.is_late_claim(states[-1]):
            return None
        ends = [state for state in states if state["type"] in words.FINAL]
        keys = ("type", "name", "message", "data")
        return {key: ends[-1][key] for key in keys} if ends else None
