"""How many jobs operators let run at once, by what they set in Prefect for work pool, queue and deployment.

Prefect heeds these for flow runs that ask it before they begin. Those of jobs do not ask, so it is done here.
"""

from contextlib import suppress
from dataclasses import dataclass

from prefect.client.orchestration import PrefectClient
from prefect.exceptions import ObjectNotFound

from deployments.registration.names import DEPLOYMENT, WORK_POOL
from flows.lifecycle.flow_run import FLOW


@dataclass(frozen=True, slots=True)
class JobLimits:
    """``at_most`` is about the jobs of all workers together; None is without a limit."""

    is_paused: bool
    at_most: int | None

    @property
    def let_none_begin(self) -> bool:
        """Whether nothing may begin, however little runs."""
        return self.is_paused or self.at_most == 0


async def read_limits(client: PrefectClient) -> JobLimits:
    """Return what is set now; raise ObjectNotFound when there is no work pool.

    A queue or deployment that is not there limits nothing.
    """
    pool = await client.read_work_pool(WORK_POOL)
    is_paused, limits = pool.is_paused, [pool.concurrency_limit]
    with suppress(ObjectNotFound):
        deployment = await client.read_deployment_by_name(f"{FLOW}/{DEPLOYMENT}")
        if deployment.global_concurrency_limit is not None:
            limits.append(deployment.global_concurrency_limit.limit)
        if deployment.work_queue_name is not None:
            queue = await client.read_work_queue_by_name(deployment.work_queue_name, WORK_POOL)
            is_paused |= queue.is_paused
            limits.append(queue.concurrency_limit)
    return JobLimits(is_paused, min((limit for limit in limits if limit is not None), default=None))
