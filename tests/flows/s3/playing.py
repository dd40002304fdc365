"""The other side of object stores: what a container would do with a job's objects."""

import asyncio
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar

import httpx
import pytest

from blocks import S3Credentials
from flows.destinations.filesystem import Addressed, Filesystem, guard
from flows.disk.trees import remove_tree
from tests.services.object_stores import ObjectStore


def use_block(monkeypatch: pytest.MonkeyPatch, server: ObjectStore) -> None:
    """Let all blocks be the credentials of a server."""
    give_block(monkeypatch, server.credentials())


def give_block(monkeypatch: pytest.MonkeyPatch, credentials: S3Credentials) -> None:
    async def load(name: str) -> S3Credentials:
        return credentials

    monkeypatch.setattr(S3Credentials, "aload", staticmethod(load))


class PlayedByObjects:
    """A filesystem whose jobs have directories on this machine, below ``there``."""

    files_are_here: ClassVar[bool] = False

    def __init__(self, filesystem: Filesystem, there: Path) -> None:
        assert isinstance(filesystem, Addressed)
        self._real = filesystem
        self._there = there

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        await self._real.stage_in(job_dir, token)
        place = self._there / token
        if not place.exists():
            place.mkdir(parents=True)
            (place / "input.tar").write_bytes(await self._get(token))
            subprocess.run(["tar", "-xf", "input.tar"], cwd=place, check=True)
        return place / "job"

    async def _get(self, token: str) -> bytes:
        async with httpx.AsyncClient() as client:
            return (await client.get((await self._real.addresses(token)).input)).raise_for_status().content

    async def stage_out(self, job_dir: Path, token: str) -> None:
        if (self._there / token).exists():
            output = await asyncio.to_thread(packed, self._there / token / "job")
            async with httpx.AsyncClient() as client:
                address = (await self._real.addresses(token)).output
                (await client.put(address, content=output)).raise_for_status()
        await self._real.stage_out(job_dir, token)

    async def remove(self, job_dir: Path, token: str) -> None:
        await self._real.remove(job_dir, token)
        assert isinstance(self._real, Addressed)
        if (self._there / token).exists():
            shutil.rmtree(guard(self._there / token / "job", token), ignore_errors=True)
            remove_tree(self._there / token)

    async def check(self) -> None:
        await self._real.check()

    async def close(self) -> None:
        await self._real.close()


def packed(directory: Path) -> bytes:
    done = subprocess.run(["tar", "-cf", "-", "."], cwd=directory, check=True, stdout=subprocess.PIPE)
    return done.stdout
