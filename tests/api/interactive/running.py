"""Commands run on jobs through the API, and their processes."""

from pathlib import Path

import httpx

from flows.jobs.job import Job
from tests.e2e.service import until


async def run(client: httpx.AsyncClient, job: Job, script: str, app: str = "sh") -> httpx.Response:
    return await client.post(f"/api/job/{job.id}/interactive/{app}", json={"script": script})


def is_running(pid: int) -> bool:
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


async def written(path: Path) -> str:
    async def content() -> str:
        return path.read_text() if path.exists() else ""

    text: str = await until(content)
    return text


async def has_ended(pid: int) -> None:
    async def ended() -> bool:
        return not is_running(pid)

    await until(ended)


async def until_exists(path: Path) -> None:
    async def exists() -> bool:
        return path.exists()

    await until(exists)
