"""A server for tests that speaks GA4GH's TES 1.1, by the specification's models.

``tes_runner`` runs its tasks. Everything is kept in files, so it can be killed at any time; tasks go on
meanwhile. A file ``hold`` lets them wait; with 1.0 in ``version`` what came with 1.1 is not heeded.
``faults`` has statuses of the next answers; after a request with the method in ``lose`` it is gone.
``requests`` has a line for each.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from pydantictes.models import TesCreateTaskResponse, TesTask

ROOT = Path(os.environ["TES_DIR"])
BASE = "/ga4gh/tes/v1"
TOKEN = ROOT / "token"

app = FastAPI()


@app.middleware("http")
async def look_first(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
    with (ROOT / "requests").open("a") as file:
        file.write(f"{request.method} {request.url.path}?{request.url.query}\n")
    if request.headers.get("authorization") != f"Bearer {TOKEN.read_text()}":
        return Response("who are you?", 401)
    if (faults := ROOT / "faults").exists() and (left := faults.read_text().split()):
        faults.write_text(" ".join(left[1:]))
        return Response("{", int(left[0]))
    answer = await go_on(request)
    if (losing := ROOT / "lose").exists() and request.method == losing.read_text():
        losing.unlink()
        os._exit(1)  # it is done, and nobody hears of that
    return answer


@app.post(f"{BASE}/tasks")
def create(task: TesTask) -> TesCreateTaskResponse:
    task_id = uuid.uuid4().hex[:16]
    (directory := ROOT / "tasks" / task_id).mkdir()
    kept = task.model_dump(mode="json", exclude_none=True)
    now = datetime.now(UTC).isoformat()
    write(directory / "task.json", {**kept, "id": task_id, "creation_time": now})
    start_waiting()
    return TesCreateTaskResponse(id=task_id)


@app.get(f"{BASE}/tasks")
def listed(request: Request, view: str = "MINIMAL", page_size: int = 256, page_token: str = "0") -> Any:
    start_waiting()
    asked = request.query_params
    tags = dict(zip(asked.getlist("tag_key"), asked.getlist("tag_value"), strict=False))
    if version() == "1.0":
        tags = {}
    tasks = [read(path) for path in (ROOT / "tasks").iterdir() if (path / "task.json").exists()]
    found = [
        task
        for task in sorted(tasks, key=lambda task: task["creation_time"], reverse=True)
        if task.get("name", "").startswith(asked.get("name_prefix", ""))
        and all(task.get("tags", {}).get(key) == value for key, value in tags.items())
    ]
    at = int(page_token)
    body: dict[str, Any] = {"tasks": [shown(task, view) for task in found[at : at + page_size]]}
    if at + page_size < len(found):
        body["next_page_token"] = str(at + page_size)
    return body


@app.get(f"{BASE}/tasks/{{task_id}}")
def one(task_id: str, view: str = "MINIMAL") -> Any:
    start_waiting()
    return shown(read(known(task_id)), view)


@app.post(f"{BASE}/tasks/{{task_id}}:cancel")
def cancel(task_id: str) -> Any:
    (known(task_id) / "cancelled").touch()
    return {}


@app.get(f"{BASE}/service-info")
def info() -> Any:
    return {
        "id": "tests",
        "name": "tests",
        "type": {"group": "org.ga4gh", "artifact": "tes", "version": version()},
    }


def version() -> str:
    file = ROOT / "version"
    return file.read_text() if file.exists() else "1.1"


def known(task_id: str) -> Path:
    if not (ROOT / "tasks" / task_id / "task.json").exists():
        raise HTTPException(404)
    return ROOT / "tasks" / task_id


def read(directory: Path) -> dict[str, Any]:
    task: dict[str, Any] = json.loads((directory / "task.json").read_text())
    log = directory / "log.json"
    task |= json.loads(log.read_text()) if log.exists() else {"state": "QUEUED"}
    if (directory / "cancelled").exists() and task["state"] == "QUEUED":
        task["state"] = "CANCELED"
    return task


def shown(task: dict[str, Any], view: str) -> dict[str, Any]:
    if view == "MINIMAL":
        return {"id": task["id"], "state": task["state"]}
    if view == "BASIC":
        task["inputs"] = [{k: v for k, v in i.items() if k != "content"} for i in task.get("inputs", [])]
        task["logs"] = []
    return task


def start_waiting() -> None:
    if (ROOT / "hold").exists():
        return
    for directory in (ROOT / "tasks").iterdir():
        task = directory / "task.json"
        if task.exists() and not (directory / "cancelled").exists():
            try:
                (directory / "started").mkdir()
            except FileExistsError:
                continue
            command = [sys.executable, "-m", "tests.services.tes_runner", str(directory)]
            with (directory / "runner.log").open("wb") as log:
                subprocess.Popen(
                    command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
                )


def write(file: Path, content: object) -> None:
    new = file.with_suffix(".new")
    new.write_text(json.dumps(content))
    new.replace(file)
