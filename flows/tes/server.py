"""Questions to a TES server, and what it is told. All methods raise Unavailable."""

from collections.abc import AsyncIterator, Collection, Mapping
from typing import Any
from urllib.parse import quote

import httpx

from flows.destinations.http_api import HttpApi
from flows.errors import DestinationRefused
from flows.tes import references
from flows.tes.tasks import TOKEN_TAG

_PAGE = 2000
"""Tasks in an answer; the specification has less than 2048."""

_PAGES = 5
"""That are asked for: servers list the newest first, and never forget a task."""

_FEW = 3
"""Tasks that are asked for one by one."""

Task = Mapping[str, Any]


class Server:
    """The server of one destination."""

    def __init__(self, api: HttpApi) -> None:
        self._api = api

    async def check(self) -> None:
        """Ask what it is."""
        self._good(await self._api.request("GET", "/service-info"))

    async def create(self, task: Task) -> str:
        """Hand a task over and return its id. Raises DestinationRefused when there never can be one."""
        answer = await self._api.request("POST", "/tasks", json=task)
        if answer.is_client_error:
            raise DestinationRefused(f"The destination does not take the job: {_said(answer)}.")
        return str(self._api.content(answer)["id"])

    async def task(self, task_id: str, view: str) -> Task | None:
        """Return a task; None when there is none of that id."""
        answer = await self._api.request("GET", _path(task_id), params=[("view", view)])
        return None if answer.status_code == 404 else self._good(answer)

    async def states(self, task_ids: Collection[str]) -> Mapping[str, str]:
        """Return the states of those that there are."""
        found: dict[str, str] = {}
        if len(task_ids) > _FEW:
            async for tasks in self._pages([("name_prefix", references.PREFIX), ("view", "MINIMAL")]):
                found |= {str(task["id"]): str(task.get("state")) for task in tasks if task["id"] in task_ids}
                if len(found) == len(task_ids):
                    break
        for task_id in task_ids:
            if task_id not in found and (task := await self.task(task_id, "MINIMAL")) is not None:
                found[task_id] = str(task.get("state"))
        return found

    async def of_token(self, token: str) -> list[Task]:
        """Return the tasks of one job, the first one first."""
        # Version 1.0 knows only the former; what does not heed it tells of others, too.
        asked = [("name_prefix", f"{references.PREFIX}{token}"), ("tag_key", TOKEN_TAG), ("tag_value", token)]
        found = [
            task
            async for tasks in self._pages([*asked, ("view", "BASIC")])
            for task in tasks
            if (parts := references.parts(str(task.get("name")))) is not None and parts[0] == token
        ]
        return sorted(found, key=lambda task: (str(task.get("creation_time")), str(task["id"])))

    async def ours(self) -> list[Task]:
        """Return tasks of any installation, the newest of them at least."""
        asked = [("name_prefix", references.PREFIX), ("view", "BASIC")]
        return [task async for tasks in self._pages(asked) for task in tasks]

    async def cancel(self, task_id: str) -> None:
        """Ask for a task's end; harmless when it has ended or is not there."""
        await self._api.request("POST", f"{_path(task_id)}:cancel", json={})

    async def _pages(self, asked: list[tuple[str, str]]) -> AsyncIterator[list[Task]]:
        token = ""
        for _ in range(_PAGES):
            more = [("page_token", token)] if token else []
            answer = await self._api.request(
                "GET", "/tasks", params=[*asked, ("page_size", str(_PAGE)), *more]
            )
            body = self._good(answer)
            yield [task for task in body.get("tasks") or [] if isinstance(task, dict) and "id" in task]
            if not (token := str(body.get("next_page_token") or "")):
                return

    def _good(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_client_error:
            raise self._api.unexpected(answer)
        return self._api.content(answer)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._api.close()


def _path(task_id: str) -> str:
    return f"/tasks/{quote(task_id, safe='')}"


def _said(answer: httpx.Response) -> str:
    try:
        body = answer.json()
        said = body.get("message") or body.get("detail") or body.get("error") or body
    except (ValueError, AttributeError):
        said = answer.text
    return f"HTTP status {answer.status_code}, {' '.join(str(said).split())[:300]}".rstrip(".")
