"""One question for all runs, whatever their number."""

import uuid
from collections.abc import Sequence
from typing import Any

import pytest

from flows.pilots import watching, words
from flows.pilots.rest import PrefectRest
from flows.pilots.submitting import Runs, Wanted
from flows.pilots.watching import Watched
from flows.pilots.words import Claim
from tests.flows.pilots.test_words import ORDER
from tests.pilots import new_pool, prefect_rest

pytestmark = pytest.mark.usefixtures("prefect_server")

NUMBER = 25


async def test_all_runs_are_read_by_one_question(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_BY_ID", 10)
    asked: list[str] = []
    ask = PrefectRest._ask

    async def counting(self: PrefectRest, method: str, path: str, json: Any = None) -> Any:
        asked.append(path)
        return await ask(self, method, path, json)

    async with prefect_rest() as rest:
        runs = Runs(rest, new_pool())
        wanted = [Wanted(str(uuid.uuid4()), ORDER, "a run") for _ in range(NUMBER)]
        ids: Sequence[str] = list((await runs._make(wanted)).values())
        deployment = await runs.deployment()
        watched = Watched(rest)
        monkeypatch.setattr(PrefectRest, "_ask", counting)
        known: set[str] = set()
        for _ in range(3):
            known |= {id_ for id_, run in (await watched.read(deployment, ids)).items() if run is not None}
        assert known == set(ids)
        assert asked == ["/flow_runs/filter"] * 3
        begun, deleted, claim = ids[0], ids[1], Claim("p", str(uuid.uuid4()))
        await rest.set_state(begun, words.taken(claim))
        await rest.set_state(begun, words.begun(claim))
        asked.clear()
        found = await watched.read(deployment, ids)
        assert words.kind_of(found[begun] or {}) == "RUNNING"
        assert asked == ["/flow_runs/filter"]
        await rest.tell("DELETE", f"/flow_runs/{deleted}")
        monkeypatch.setattr(watching, "_TURN", 0.0)
        for _ in range(3):
            found = await watched.read(deployment, ids)
        assert found[deleted] is None
        await runs.close()
