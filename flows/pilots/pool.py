"""What Prefect has to know of a destination's pilots: their work pool, and the deployment of the commands."""

from typing import Any

from flows.errors import Refused
from flows.pilots.orders import FLOW, POOL_TYPE, VERSION
from flows.pilots.rest import NotFound, PrefectRest

_POOL = "Commands of jobs, run by the processes of `bartender perform`. While it is paused none begins."
_DEPLOYMENT = "Runs the command of one job at a pilot; a worker starts a run of it for each job."


async def deployment(rest: PrefectRest, pool: str) -> str:
    """Return the id of the deployment of a pool's commands; make it, with the pool, where there is none.

    A pool that somebody deleted is not made anew: its settings are gone. Raises Refused with the way out.
    """
    try:
        found = await _read(rest, pool)
    except NotFound:
        return await _make(rest, pool)
    is_there = await _is_there(rest, pool)
    if not is_there:
        raise Refused(
            f"The work pool {pool} was deleted in Prefect: delete its deployment {FLOW}/{pool} as well, and "
            "both are made anew."
        )
    change: dict[str, Any] = {}
    if found.get("work_pool_name") != pool:
        change["work_pool_name"] = pool
    if version_of(found) < VERSION:
        change["version"] = str(VERSION)
    if change:
        await rest.tell("PATCH", f"/deployments/{found['id']}", change)
    return str(found["id"])


async def version(rest: PrefectRest, pool: str) -> int | None:
    """Return the version of the orders that the pool's pilots have to know; None where nobody makes any yet.

    Raises Refused where the pool is missing or not one of pilots.
    """
    if not await _is_there(rest, pool):
        raise Refused(
            f"The work pool {pool} is not there: start a worker with a destination of that work_pool, or "
            "correct the name."
        )
    try:
        return version_of(await _read(rest, pool))
    except NotFound:
        return None


def version_of(found: dict[str, Any]) -> int:
    """Return what a deployment says of the version of its orders."""
    said = str(found.get("version"))
    return int(said) if said.isdecimal() else 0


async def deployment_id(rest: PrefectRest, pool: str) -> str | None:
    """Return the id of the pool's deployment; None where there is none."""
    try:
        return str((await _read(rest, pool))["id"])
    except NotFound:
        return None


async def _read(rest: PrefectRest, pool: str) -> dict[str, Any]:
    found: dict[str, Any] = await rest.ask("GET", f"/deployments/name/{FLOW}/{pool}")
    return found


async def _is_there(rest: PrefectRest, pool: str) -> bool:
    """Raise Refused where the pool is another kind of worker's."""
    try:
        found = await rest.ask("GET", f"/work_pools/{pool}")
    except NotFound:
        return False
    if found["type"] != POOL_TYPE:
        raise Refused(
            f"The work pool {pool} is of the type {found['type']}, and no pilot's: name another one as "
            "work_pool."
        )
    return True


async def _make(rest: PrefectRest, pool: str) -> str:
    if not await _is_there(rest, pool):
        await rest.tell("POST", "/work_pools/", {"name": pool, "type": POOL_TYPE, "description": _POOL})
    flow = await rest.ask("POST", "/flows/", {"name": FLOW})
    made = await rest.ask(
        "POST",
        "/deployments/",
        {
            "name": pool,
            "flow_id": flow["id"],
            "work_pool_name": pool,
            "version": str(VERSION),
            "description": _DEPLOYMENT,
            "enforce_parameter_schema": False,
        },
    )
    return str(made["id"])
