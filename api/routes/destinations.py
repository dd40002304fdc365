"""Where jobs run, for operators."""

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter

from api.auth import CurrentUser
from api.schemas import DestinationDTO, Problem
from api.services import ServicesDep
from flows.configuration.config import Destination
from flows.errors import NotAllowed
from flows.jobs.destination_reports import Report, Reports
from flows.jobs.job import State

router = APIRouter(tags=["destination"])

_ANSWERS: dict[int | str, dict[str, Any]] = {
    403: {"model": Problem, "description": "There is no token, or it lacks the operators' role"},
}
_Jobs = Mapping[tuple[str | None, State], int]


@router.get("/api/destinations", responses=_ANSWERS)
async def list_destinations(user: CurrentUser, services: ServicesDep) -> list[DestinationDTO]:
    """Return how the destinations are doing, as the workers last saw them."""
    role = services.settings.operator_role
    if role not in user.roles:
        raise NotAllowed(f"Only tokens with the role {role!r} may see the destinations.")
    reports = Reports(services.store.pool)
    newest, jobs = await reports.newest(), await reports.jobs_under_way()
    return [
        _summary(name, destination, [report for report in newest if report.destination == name], jobs)
        for name, destination in services.config.destinations.items()
    ]


def _summary(name: str, destination: Destination, reports: Sequence[Report], jobs: _Jobs) -> DestinationDTO:
    """Return the worst that workers saw of a destination."""
    errors = sorted((report.error_on, report.error) for report in reports if report.error_on is not None)
    return DestinationDTO(
        name=name,
        scheduler=destination.scheduler.type_name,
        filesystem=destination.filesystem.type_name,
        reachable=all(report.reachable for report in reports) if reports else None,
        latency=max((report.latency for report in reports if report.latency is not None), default=None),
        checked_on=min((report.checked_on for report in reports), default=None),
        jobs={state: jobs.get((name, state), 0) for state in State if not state.is_final},
        last_error=errors[-1][1] if errors else None,
        last_error_on=errors[-1][0] if errors else None,
    )
