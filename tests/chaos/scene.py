"""The chaos: a whole server, its visitors, the faults, and what is found at the end."""

import asyncio
import re
import shutil
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from tests.chaos.checks import Checks, clean_up, problems_until
from tests.chaos.far import Far
from tests.chaos.faults import FaultLog, inject
from tests.chaos.load import Visit, Visitor, WrongAnswer
from tests.chaos.parts import Part, Server, own_pilot, own_worker, part_of_server, postgres
from tests.chaos.plan import Plan, PlannedFault
from tests.e2e.service import Service

CONFIG = """
applications:
  script: {command_template: sh script.sh, upload_needs: [script.sh]}
destination_picker: picker.py:as_the_visitor_says
destinations:
  queue:
    scheduler: {type: memory, slots: 8}
    filesystem: {type: local}
  eager:
    scheduler: {type: eager, max_load: 1000, timeout: 10000}
    filesystem: {type: local}
  pilots:
    scheduler: {type: pilot, work_pool: pilots}
    filesystem: {type: local}
"""
PICKER = """
def as_the_visitor_says(job_dir, application_name, submitter, context):
    return (job_dir / "destination").read_text()
"""
LOCAL_DESTINATIONS = ["queue", "eager", "pilots"]
FAR_DESTINATIONS = ["cluster"]
LOCAL_PARTS = ["worker", "second worker", "pilot", "second pilot", "api", "prefect", "postgres", "server"]
FAR_PARTS = ["sshd", "slurmctld"]

REGISTRATION_INTERVAL = 10.0
"""Seconds between two wishes that the cluster's node may say what it runs."""


class Chaos:
    """``patience``: seconds that jobs have to end once all is well again."""

    def __init__(self, directory: Path, plan: Plan, far: Far | None, *, patience: float) -> None:
        self.directory = directory
        self._plan = plan
        self._far = far
        self._patience = patience
        self._ledgers = directory / "ledgers"
        self._ledgers.mkdir()
        (directory / "picker.py").write_text(PICKER)
        self.service = Service(directory, CONFIG + (far.configuration() if far else ""))
        self._own = {
            "second worker": own_worker(self.service, "second"),
            "pilot": own_pilot(self.service, "pilot-1"),
            "second pilot": own_pilot(self.service, "pilot-2"),
        }
        self.visits = [self._visit(number) for number in range(len(plan.jobs))]
        self.log = FaultLog(directory / "faults.log")
        self._checks = Checks(self.service, self.visits, workers=2)
        self.away = 0
        self._registered = -REGISTRATION_INTERVAL

    def state(self) -> str:
        """How far it is."""
        submitted = sum(visit.job_id is not None for visit in self.visits)
        return (
            f"{submitted} of {len(self.visits)} jobs submitted, "
            f"{self.log.faults} of {len(self._plan.faults)} faults over; last: {self.log.last}"
        )

    def _visit(self, number: int) -> Visit:
        job = self._plan.jobs[number]
        is_far = self._far is not None and job.destination in FAR_DESTINATIONS
        ledgers = self._far.ledgers if self._far is not None and is_far else self._ledgers
        return Visit(job, ledgers / str(number), f"{self.directory.name}/{number}")

    def _parts(self) -> dict[str, Part]:
        parts: dict[str, Part] = {
            name: part_of_server(self.service, name) for name in ("worker", "api", "prefect")
        }
        parts |= {**self._own, "postgres": postgres(self.service)}
        parts["server"] = Server(self.service)
        return parts | (self._far.parts() if self._far else {})

    async def run(self) -> list[str]:
        """Return what is wrong in the end."""
        parts = self._parts()
        await self.service.start()
        for own in self._own.values():
            own.start()
        self.log.began = time.monotonic()
        try:
            visitor = Visitor(self.service, self.log.began)
            faults = asyncio.create_task(inject(list(self._plan.faults), parts, self.log))
            found = await asyncio.gather(
                *(visitor.visit(visit) for visit in self.visits), return_exceptions=True
            )
            self.log.write("all visitors have their answers")
            await faults
            await visitor.close()
            self.away = visitor.away
            problems = [
                f"{visit.key}: {error!r}" for visit, error in zip(self.visits, found, strict=True) if error
            ]
            unexpected = [error for error in found if error and not isinstance(error, WrongAnswer)]
            if unexpected:
                raise unexpected[0]
            return problems + await self._aftermath()
        finally:
            await self._stop(parts)

    async def _aftermath(self) -> list[str]:
        checks = self._checks
        self.log.write("waiting for the jobs to end")
        problems = await self._until(self._endings, self._patience)
        self.log.write("looking for what is left")
        problems += await self._until(self._clean_up, 60)
        looks = (self._leftovers, checks.database, checks.flow_runs, self._far_leftovers, checks.outputs)
        for look in looks:
            problems += await self._until(look, 60)
        problems += self._mistakes()
        self.log.write(f"done: {problems or 'well'}")
        return problems

    async def _until(self, look: Callable[[], Awaitable[list[str]]], seconds: float) -> list[str]:
        problems = await problems_until(look, seconds)
        self.log.write(f"{look.__name__}: {problems or 'well'}")
        return problems

    async def _endings(self) -> list[str]:
        if self._far is not None:
            await asyncio.to_thread(self._far.administer)
        return await self._checks.endings()

    async def _clean_up(self) -> list[str]:
        return await clean_up(self.service)

    async def _leftovers(self) -> list[str]:
        problems = await self._checks.leftovers()
        if problems and self._far is not None and time.monotonic() > self._registered + REGISTRATION_INTERVAL:
            self._registered = time.monotonic()
            await asyncio.to_thread(self._far.let_nodes_register)
        return problems

    async def _far_leftovers(self) -> list[str]:
        return await asyncio.to_thread(self._far.leftovers) if self._far is not None else []

    def _mistakes(self) -> list[str]:
        """What the parts themselves call a mistake of ours."""
        signs = ("by a mistake of ours", "cannot be looked after", "was not understood")
        return [
            f"{path.name}: {line[:300]}"
            for path in self.logs()
            for line in path.read_text(errors="replace").splitlines()
            if any(sign in line for sign in signs)
        ]

    def logs(self) -> list[Path]:
        log = self.directory / "log"
        return [log] if log.exists() else []

    async def _stop(self, parts: dict[str, Part]) -> None:
        for part in parts.values():
            with suppress(Exception):  # what is wrong is known by now
                await part.bring_back()
        for own in self._own.values():
            await own.stop()
        await self.service.stop()

    def report(self, problems: list[str]) -> str:
        """What is needed to understand them."""
        lines = [
            f"seed {self._plan.seed}: {len(problems)} things are wrong",
            *(f"  {line}" for line in problems),
        ]
        lines += ["", "faults, in seconds after the start:", self.log.read()]
        text = " ".join(problems)
        for visit in self.visits:
            if re.search(rf"(job |script-){visit.job_id}\b", text) or visit.key in text:
                lines += [f"job {visit.job_id}: {visit.plan}", *(f"    {line}" for line in visit.history)]
        for path in self._far.logs() if self._far else []:  # they go with the cluster
            shutil.copy(path, self.directory)
        lines += [f"logs and data: {self.directory}"]
        return "\n".join(lines)


def parts_and_destinations(far: bool) -> tuple[list[str], list[str]]:
    if far:
        return LOCAL_PARTS + FAR_PARTS, LOCAL_DESTINATIONS + FAR_DESTINATIONS
    return LOCAL_PARTS, LOCAL_DESTINATIONS


__all__ = ["Chaos", "PlannedFault", "parts_and_destinations"]
