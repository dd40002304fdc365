"""Filesystem ``s3``: a job's files as one object each way, for destinations that have no directories."""

import asyncio
import re
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flows.destinations.filesystem import Addresses, Stored
from flows.destinations.surroundings import Surroundings
from flows.disk import names
from flows.errors import InvalidUpload, StagingFailed
from flows.plugins import need_extra
from flows.s3.bucket import Bucket, Download
from flows.staging import failures, sending
from flows.transfers import packed
from flows.waiting.threads import to_the_end

_DAY = 86_400.0


def _is_prefix(prefix: str) -> str:
    if not re.fullmatch(r"([A-Za-z0-9!_.*'()-]+/)*[A-Za-z0-9!_.*'()-]+", prefix) or ".." in prefix:
        raise ValueError("must be words of plain letters and digits with slashes between, none at the ends")
    return prefix


class Filesystem:
    """A job has two objects below its token: what was brought, and what its wrapper has sent."""

    files_are_here: ClassVar[bool] = False

    class Config(BaseModel):
        """``addresses`` are what the other side gets: such that need no keys, or ``s3://`` where it has some.

        ``signed_days`` is how long the former are good: as long as a job may wait and run, at most a week.
        """

        model_config = ConfigDict(extra="forbid", frozen=True)

        block: str = Field(min_length=1, description="name of an s3-credentials block")
        bucket: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")
        prefix: Annotated[str, AfterValidator(_is_prefix)] = "bartender"
        addresses: Literal["signed", "s3"] = "signed"
        signed_days: float = Field(default=7.0, gt=0, le=7)

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        need_extra("obstore", "s3")
        self._config = config
        self._bucket = Bucket(config.block, config.bucket)

    async def stage_in(self, job_dir: Path, token: str) -> Path:
        if not await self._bucket.has(self._input(token)):
            try:
                sent = await asyncio.to_thread(sending.scan, job_dir)
            except OSError as error:
                raise failures.here(error) from error
            await self._bucket.put(self._input(token), packed.pack(job_dir, sent), packed.size(sent))
        return Path("/") / self._config.bucket / self._config.prefix / token

    async def addresses(self, token: str) -> Addresses:
        if self._config.addresses == "s3":
            bucket = f"s3://{self._config.bucket}"
            return Addresses(f"{bucket}/{self._input(token)}", f"{bucket}/{self._output(token)}")
        seconds = self._config.signed_days * _DAY
        return Addresses(
            await self._bucket.signed("GET", self._input(token), seconds),
            await self._bucket.signed("PUT", self._output(token), seconds),
        )

    async def stage_out(self, job_dir: Path, token: str) -> None:
        """Without outputs there is no return code either, which is told when that is looked for."""
        outputs = packed.Outputs(job_dir, token)
        try:
            await self._bucket.get(self._output(token), lambda source: _land(source, outputs))
        except FileNotFoundError:
            return
        except InvalidUpload as error:
            raise StagingFailed(f"The outputs at the destination are damaged: {error}") from error

    async def remove(self, job_dir: Path, token: str) -> None:
        await self._bucket.remove([self._input(token), self._output(token)])
        await self._bucket.abort_uploads(f"{self._config.prefix}/{token}/")
        await to_the_end(packed.Outputs(job_dir, token).remove)

    async def stored(self) -> list[Stored]:
        changed: dict[str, float] = {}
        for found in await self._bucket.objects(self._config.prefix):
            name = found.key.removeprefix(f"{self._config.prefix}/").partition("/")[0]
            if (token := names.key(names.AT_DESTINATION, name)) is not None:
                changed[token] = max(changed.get(token, 0.0), found.changed)
        return [Stored(token, when) for token, when in changed.items()]

    async def check(self) -> None:
        await self._bucket.check(self._config.prefix)

    async def close(self) -> None:
        self._bucket.close()

    def _input(self, token: str) -> str:
        return f"{self._config.prefix}/{token}/input.tar"

    def _output(self, token: str) -> str:
        return f"{self._config.prefix}/{token}/output.tar"


def _land(source: Download, outputs: packed.Outputs) -> None:
    try:
        outputs.unpack(source)
    except OSError as error:
        raise failures.here(error) from error
