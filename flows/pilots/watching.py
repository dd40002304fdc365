"""What becomes of a pool's runs, by one question for all of them, whatever their number.

Asked for are the runs that have begun or ended since the last question, and of the others some by their ids
in turn: those of which Prefect would tell nothing else, such as one that was deleted.
"""

import logging
import time
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from flows.pilots import words
from flows.pilots.rest import PrefectRest

logger = logging.getLogger(__name__)

_OVERLAP = timedelta(seconds=10)
"""A state is written some time after the moment that it bears."""

_BY_ID = 100
"""Ids in one question."""

_TURN = 30.0
"""Seconds after which a run is asked for by its id again."""


class Watched:
    """Keeps the last that was read of each run that is asked for."""

    def __init__(self, rest: PrefectRest) -> None:
        self._rest = rest
        self._read: dict[str, dict[str, Any]] = {}
        self._asked: dict[str, float] = {}
        self._asked_last: datetime | None = None

    async def read(self, deployment: str, ids: Collection[str]) -> Mapping[str, dict[str, Any] | None]:
        """Return the runs of these ids as they are now, but for what Prefect has not told yet.

        None for one that is not there. Raises Unavailable.
        """
        turn = self._turn(ids)
        asked, now = self._rest.now(), time.monotonic()
        rows = {row["id"]: row for row in await self._rest.runs(self._filter(turn), deployment=deployment)}
        if missing := [id_ for id_ in turn if id_ not in rows]:
            # Of a deployment that was deleted since, perhaps: those that have begun go on.
            rows |= {row["id"]: row for row in await self._rest.runs({"id": {"any_": missing}})}
        wanted = set(ids)
        self._read.update((id_, row) for id_, row in rows.items() if id_ in wanted)
        for id_ in turn:
            self._asked[id_] = now
            if id_ not in rows:
                self._read.pop(id_, None)
        self._asked_last = asked
        # Those that were not asked for by now, since there are so many new ones, are left away.
        return {id_: self._read.get(id_) for id_ in ids if id_ in self._asked}

    def _turn(self, ids: Collection[str]) -> Sequence[str]:
        due = time.monotonic() - _TURN
        waiting = [id_ for id_ in ids if self._asked.get(id_, 0.0) <= due or id_ not in self._asked]
        return sorted(waiting, key=lambda id_: self._asked.get(id_, 0.0))[:_BY_ID]

    def _filter(self, turn: Sequence[str]) -> dict[str, Any]:
        since = ((self._asked_last or self._rest.now()) - _OVERLAP).isoformat()
        filter: dict[str, Any] = {
            "operator": "or_",
            # Without the latter, those count that were to start since then.
            "start_time": {"after_": since, "is_null_": False},
            "end_time": {"after_": since},
        }
        if turn:
            filter["id"] = {"any_": list(turn)}
        return filter

    def forget(self, id_: str) -> None:
        """Keep nothing more of a run."""
        self._read.pop(id_, None)
        self._asked.pop(id_, None)


class Presence:
    """Which pilots of a pool are there, as far as is known. What is unknown counts as there."""

    def __init__(self, rest: PrefectRest, pool: str, *, heard_within: float, lost_after: float) -> None:
        self._rest = rest
        self._pool = pool
        self._heard_within = heard_within
        self._lost_after = lost_after
        self._silent_since: dict[str, float] = {}
        self._alive: set[str] = set()
        self.is_paused = False

    async def look(self, holders: Collection[str]) -> None:
        """Read who was heard of lately. Raises NotFound where the pool is gone."""
        pool = await self._rest.ask("GET", f"/work_pools/{self._pool}")
        self.is_paused = bool(pool["is_paused"])
        self._alive = await self._rest.alive(
            self._pool, self._rest.now() - timedelta(seconds=self._heard_within)
        )
        now = time.monotonic()
        self._silent_since = {
            name: self._silent_since.get(name, now) for name in holders if name not in self._alive
        }

    def doubt(self) -> None:
        """Begin anew: while nobody could ask, nobody could be heard of."""
        self._silent_since.clear()

    def is_lost(self, pilot: str) -> bool:
        """Whether the pilot was silent for so long, though others could be heard."""
        since = self._silent_since.get(pilot)
        return since is not None and time.monotonic() - since > self._lost_after - self._heard_within

    @property
    def waits_for(self) -> str | None:
        """What keeps runs from beginning, for those who wait."""
        if self.is_paused:
            return f"Waiting: the work pool {self._pool} is paused."
        if not self._alive:
            return f"Waiting for a pilot: none of the work pool {self._pool} is there."
        return None


def holder(run: Mapping[str, Any], before: words.Claim | None) -> words.Claim | None:
    """Return who has the run; ``before`` is who had it when it was read last."""
    if words.kind_of(run) == "SCHEDULED":
        return None
    return words.claim_of(run.get("state")) or before
