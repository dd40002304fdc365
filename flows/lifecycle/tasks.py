"""The steps of a job as Prefect's tasks, for its own engine; workers run them without (docs/design.md)."""

from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import CacheKeyFnPolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.tasks import Task

from flows.lifecycle.retries import RETRIES, RETRY_DELAYS, RETRY_JITTER, is_to_be_retried

P = ParamSpec("P")
R = TypeVar("R")


async def run_as_task(step: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a step of the flow run that Prefect's engine is at."""
    result: R = await task_of(step)(*args, **kwargs)
    return result


@cache
def task_of(step: Callable[..., Any]) -> Task[..., Any]:
    """Return the task whose result outlives the process, and that is tried again while a part is away."""
    return task(
        persist_result=True,
        result_serializer="json",
        cache_policy=CacheKeyFnPolicy(cache_key_fn=_result_key),
        retries=RETRIES,
        retry_delay_seconds=RETRY_DELAYS,
        retry_jitter_factor=RETRY_JITTER,
        retry_condition_fn=_is_to_be_retried,
    )(step)


def _result_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    # By run and step, not by source: a newer version continues the runs of an older one.
    return f"{context.task_run.flow_run_id}/{context.task.name}"


async def _is_to_be_retried(step: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    run = FlowRunContext.get()
    job_id = run.parameters["job_id"] if run is not None and run.parameters else None
    return isinstance(job_id, int) and await is_to_be_retried(job_id, step.name, state.data)
