"""A worker whose list of scheduled flow runs is old when it gets it: ``python -m tests.e2e.late COMMAND...``.

It claims no job before a list with flow runs of two jobs was answered. LATE/listed is made then, and the list
goes on to the worker when LATE/go is there. LATE/used is made when the worker asks for the next one.
"""

import asyncio
import os
from pathlib import Path
from typing import Any

from api.cli import main
from deployments.worker.engine import PatientClient
from flows.jobs.owned import OwnedJobs

LATE = Path(os.environ["LATE"])
JOBS = 2


def install() -> None:
    ask, claim = PatientClient.get_scheduled_flow_runs_for_work_pool, OwnedJobs.claim

    async def late(self: PatientClient, *args: Any, **kwargs: Any) -> Any:
        if (LATE / "go").exists():
            (LATE / "used").touch()
        answer = await ask(self, *args, **kwargs)
        if sum("job_id" in found.flow_run.parameters for found in answer) == JOBS:
            (LATE / "listed").touch()
            while not (LATE / "go").exists():
                await asyncio.sleep(0.02)
            return answer
        return []

    async def not_before(self: OwnedJobs, **kwargs: Any) -> Any:
        return await claim(self, **kwargs) if (LATE / "listed").exists() else []

    PatientClient.get_scheduled_flow_runs_for_work_pool = late  # type: ignore[method-assign,assignment]
    OwnedJobs.claim = not_before  # type: ignore[method-assign]


if __name__ == "__main__":
    install()
    main()
