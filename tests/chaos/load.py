"""Visitors: each submits one job, again until there is an answer, and may cancel or delete it."""

import asyncio
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from tests.chaos.plan import PlannedJob
from tests.e2e.service import Service

AGAIN = 0.5
MAY_BE_AWAY = 600.0

# The mark is in the environment of all that the command starts.
SCRIPT = """[ "$CHAOS" ] || CHAOS={mark} exec sh "$0"
echo $$ >>{ledger}
echo $$ >>ledger
sleep {seconds}
sha256sum <input >sum
cat input input >output
echo end of {number}
"""


class WrongAnswer(AssertionError):
    """An answer that no visitor must get."""


@dataclass
class Visit:
    """What became of one planned job, as its visitor saw it. ``ledger`` gets a line for each run."""

    plan: PlannedJob
    ledger: Path
    mark: str
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    job_id: int | None = None
    ended_before: bool = False
    history: list[str] = field(default_factory=list)

    @property
    def archive(self) -> bytes:
        script = SCRIPT.format(
            mark=self.mark, ledger=self.ledger, seconds=self.plan.seconds, number=self.plan.number
        )
        return Service.archive(
            {"script.sh": script, "input": self.plan.content, "destination": self.plan.destination}
        )

    def runs(self) -> int:
        return len(self.ledger.read_text().splitlines()) if self.ledger.exists() else 0


class Visitor:
    """``away`` counts the requests that were answered by 503 or not at all."""

    def __init__(self, service: Service, began: float) -> None:
        self._client = service.client_of("visitor", timeout=20)
        self._began = began
        self.away = 0

    async def visit(self, visit: Visit) -> None:
        await asyncio.sleep(max(0.0, self._began + visit.plan.at - time.monotonic()))
        content = visit.archive
        headers = {"Content-Type": "application/zip", "Idempotency-Key": visit.key}
        answer = await self._ask(visit, "PUT", "/api/application/script/job", {303}, headers, content)
        visit.job_id = int(answer.headers["Location"].rpartition("/")[2])
        if visit.plan.fate == "run":
            return
        await asyncio.sleep(visit.plan.fate_after)
        path = f"/api/job/{visit.job_id}"
        if visit.plan.fate == "delete":
            # 404: an earlier request was heard, though its answer was not.
            await self._ask(visit, "DELETE", path, {204, 404})
        else:
            answer = await self._ask(visit, "POST", f"{path}/cancel", {200, 202, 409})
            visit.ended_before = answer.status_code == 409

    async def _ask(
        self,
        visit: Visit,
        method: str,
        path: str,
        expected: set[int],
        headers: dict[str, str] | None = None,
        content: bytes | None = None,
    ) -> httpx.Response:
        deadline = time.monotonic() + MAY_BE_AWAY
        while time.monotonic() < deadline:
            try:
                answer = await self._client.request(method, path, headers=headers, content=content)
            except httpx.TransportError as error:
                self.away += 1
                visit.history.append(f"{self._now()} {method} {path}: {type(error).__name__}")
            else:
                visit.history.append(f"{self._now()} {method} {path}: {answer.status_code}")
                if answer.status_code in expected:
                    return answer
                if answer.status_code != 503 or "Retry-After" not in answer.headers:
                    raise WrongAnswer(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
                self.away += 1
            await asyncio.sleep(AGAIN)
        raise WrongAnswer(f"{method} {path} is not answered")

    def _now(self) -> str:
        return f"{time.monotonic() - self._began:.2f}"

    async def close(self) -> None:
        await self._client.aclose()
