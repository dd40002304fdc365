"""A job's life: its steps, in their order, whoever runs them."""

from collections.abc import Awaitable, Callable
from typing import ParamSpec, Protocol, TypeVar

from flows.lifecycle.ending import end_of_job
from flows.lifecycle.steps import collect, pick_destination, poll, submit, upload

P = ParamSpec("P")
R = TypeVar("R")


class RunStep(Protocol):
    """Runs a step: gives back what it returned before, or calls it, again and again while a part is away."""

    async def __call__(self, step: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R: ...


async def live(job_id: int, run: RunStep) -> None:
    """Bring the job of this id from the visitor's archive to the outputs in the job's directory."""
    async with end_of_job(job_id):
        await run(upload, job_id)
        destination = await run(pick_destination, job_id)
        scheduler_id = await run(submit, job_id, destination)
        outcome = await run(poll, job_id, destination, scheduler_id)
        await run(collect, job_id, destination, scheduler_id, outcome)
