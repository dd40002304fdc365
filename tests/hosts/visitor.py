"""A visitor who submits jobs until each is accepted, and knows what must become of them."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from api.tokens.signing import generate_token
from tests.e2e.service import Service

_REQUEST_SECONDS = 10.0
_SCRIPT = "echo ran >>ledger; sleep {seconds}; echo {number}"


@dataclass
class Visitor:
    url: str
    private_key: Path
    jobs: dict[int, int] = field(default_factory=dict)
    """Their ids, by their numbers."""
    refused: int = 0
    """Requests that were not answered, or with 503."""

    def __post_init__(self) -> None:
        token = generate_token(self.private_key, "visitor", [], 240, "tests")
        self._headers = {"Authorization": f"Bearer {token}"}

    async def submit(self, number: int, seconds: float) -> None:
        """Repeat it, under the same key, until there is an answer."""
        archive = Service.archive({"script.sh": _SCRIPT.format(seconds=seconds, number=number)})
        headers = {"Content-Type": "application/zip", "Idempotency-Key": f"job-{number}"}
        answer = await self._asked("PUT", "/api/application/script/job", content=archive, headers=headers)
        assert answer.status_code == 303, answer.text
        self.jobs[number] = int(answer.headers["Location"].rpartition("/")[2])

    async def listed(self) -> dict[int, dict[str, Any]]:
        """Return all jobs as the service has them, by their ids."""
        answer = await self._asked("GET", "/api/job/", params={"limit": "1000"})
        assert answer.status_code == 200, answer.text
        return {job["id"]: job for job in answer.json()}

    async def _asked(self, method: str, path: str, **options: Any) -> httpx.Response:
        while True:
            try:
                # A connection for each request: who keeps one to a host that vanished learns of it late.
                async with httpx.AsyncClient(
                    base_url=self.url, headers=self._headers, timeout=_REQUEST_SECONDS
                ) as client:
                    answer = await client.request(method, path, **options)
            except httpx.TransportError:
                self.refused += 1
            else:
                if answer.status_code != 503:
                    return answer
                self.refused += 1
            await asyncio.sleep(0.5)

    async def until_all_have_ended(self) -> None:
        while not all(job["state"] in {"ok", "error"} for job in (await self.listed()).values()):
            await asyncio.sleep(1)

    async def problems(self, jobs_on_the_disk: Path) -> list[str]:
        """Return what is not as it was promised."""
        there = await self.listed()
        problems = [f"{len(there)} jobs are there, {len(self.jobs)} were accepted"] * (
            there.keys() != set(self.jobs.values())
        )
        for number, job_id in self.jobs.items():
            job, directory = there.get(job_id), jobs_on_the_disk / str(job_id)
            if job is None or job["state"] != "ok":
                problems.append(f"job {job_id} is {job}")
            elif (ran := (directory / "ledger").read_text()) != "ran\n":
                problems.append(f"job {job_id} {ran.split()}")
            elif (written := (directory / "stdout.txt").read_text()) != f"{number}\n":
                problems.append(f"job {job_id} has written {written!r}, not {number}")
        return problems
