"""The flows that workers run besides those of jobs. ``prefect.yaml`` says the same for ``prefect deploy``."""

from dataclasses import dataclass
from typing import Any

from prefect.flows import Flow

from flows.clean_up import clean_up
from flows.reconcile import reconcile


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """One flow, known to Prefect by one deployment. Its schedule is in UTC."""

    flow: Flow[..., Any]
    entrypoint: str
    cron: str
    description: str


UPKEEP = (
    Upkeep(
        flow=reconcile,
        entrypoint="flows/reconcile.py:reconcile",
        cron="*/5 * * * *",
        description="Mends what jobs, flow runs, commands and clusters say of each other.",
    ),
    Upkeep(
        flow=clean_up,
        entrypoint="flows/clean_up.py:clean_up",
        cron="17 * * * *",
        description="Removes expired jobs, what was left of jobs, and old flow runs. Has a dry run.",
    ),
)
