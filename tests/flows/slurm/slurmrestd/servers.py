"""slurmrestd as it is, and with answers that it does not give on demand."""

import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import respx
from pydantic import SecretStr

from blocks import SlurmRestCredentials
from flows.destinations.scheduler import Scheduler
from tests.flows.slurm.jobs import slurm_id
from tests.services.slurm import SlurmCluster

Make = Callable[..., Scheduler]

NO_JOBS: dict[str, Any] = {"errors": [], "jobs": []}


class Paths:
    """Of what is asked for. ``some`` of the jobs are asked for where the version can do that."""

    def __init__(self, cluster: SlurmCluster) -> None:
        self.version = "v0.0.42" if cluster.version >= (24, 11) else "v0.0.38"
        self.all = f"/slurm/{self.version}/jobs"
        self.some = f"{self.all}/state/" if cluster.version >= (24, 11) else self.all
        self.partitions = f"/slurm/{self.version}/partitions"
        self.submit = f"/slurm/{self.version}/job/submit"
        self.accounting = f"/slurmdb/{self.version}/jobs"

    def job(self, scheduler_id: str) -> str:
        return f"/slurm/{self.version}/job/{slurm_id(scheduler_id)}"


async def save(cluster: SlurmCluster, **changes: str) -> None:
    keys = {"url": cluster.rest_url, "user": cluster.state.account.name, **changes}
    token = SecretStr(keys.pop("token", "") or cluster.token())
    await SlurmRestCredentials(**keys, token=token).asave("cluster", overwrite=True)


@contextmanager
def instead(answers: dict[str, dict[str, Any]]) -> Iterator[respx.MockRouter]:
    """Answers that slurmrestd does not give on demand; all other requests reach it, and Prefect."""
    with respx.mock(assert_all_called=False) as mocked:
        for path, answer in answers.items():
            mocked.route(path=path, name=path).mock(**answer)
        mocked.route().pass_through()
        yield mocked


def answer(body: Any) -> dict[str, Any]:
    return {"return_value": httpx.Response(200, json=body)}


def really(request: httpx.Request) -> httpx.Response:
    """What slurmrestd answers: for requests that are counted, or whose answer is lost."""
    headers = {name: request.headers[name] for name in request.headers if name.startswith("x-slurm")}
    if request.content:
        headers["content-type"] = "application/json"
    again = urllib.request.Request(str(request.url), request.content or None, headers)
    with urllib.request.urlopen(again, timeout=60) as response:
        return httpx.Response(200, content=response.read())
