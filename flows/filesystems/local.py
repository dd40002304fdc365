"""Filesystem of destinations that see this machine's disk: nothing is moved."""

import asyncio
from pathlib import Path
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from flows.batch import guards
from flows.destinations.filesystem import guard
from flows.destinations.surroundings import Surroundings
from flows.disk.writable import check_writable


class Filesystem:
    """The job runs in its own directory."""

    files_are_here: ClassVar[bool] = True

    class Config(BaseModel):
        """No keys but the type."""

        model_config = ConfigDict(extra="forbid", frozen=True)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        self._job_root = surroundings.place.job_root

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        return job_dir

    async def stage_out(self, job_dir: Path, token: str) -> None:
        pass

    async def remove(self, job_dir: Path, token: str) -> None:
        await asyncio.to_thread(guards.remove, guard(job_dir, token))

    async def check(self) -> None:
        await check_writable(self._job_root)

    async def close(self) -> None:
        pass
