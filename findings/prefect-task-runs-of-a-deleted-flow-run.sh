#!/bin/sh
# Prefect server 3.8.8 with PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE above 1, which its documentation offers
# for busy servers: events of task runs are written a batch at a time. Flow run A is deleted while it runs; its task
# runs and those of flow run B are told in turn.
# Seen with 200: B has none of its ten task runs, though each event was taken with 204. With 1, the default: all ten.
# Therefore deployments/serving/tuning.py leaves the batch size at 1. Takes two minutes and 300 MB.
set -eu
folder=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; wait; rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
export PATH="$folder/venv/bin:$PATH" PIP_DISABLE_PIP_VERSION_CHECK=1
pip install --quiet prefect==3.8.8 fastapi==0.150.0 sqlalchemy==2.0.58
export DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_LEVEL=CRITICAL
export PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL=1
port=$(python -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export API="http://127.0.0.1:$port/api"
cat > "$folder/look.py" <<'PYTHON'
import os
import sys
import time
import uuid
from datetime import datetime, timezone

import httpx

api = httpx.Client(base_url=os.environ["API"], timeout=60)
for _ in range(600):
    try:
        if api.get("/health").status_code == 200:
            break
    except httpx.TransportError:
        pass
    time.sleep(0.2)


def posted(path, body):
    for _ in range(60):
        answer = api.post(path, json=body)
        if answer.status_code != 503:  # its SQLite is busy, as at the start
            break
        time.sleep(1)
    answer.raise_for_status()
    return answer.json() if answer.content else None


def task_runs(flow_run):
    names = {"flow_runs": {"id": {"any_": [flow_run]}}}
    return {task_run["name"] for task_run in posted("/task_runs/filter", names)}


def told(flow_run, name):
    now = datetime.now(timezone.utc).isoformat()
    return {
        "id": str(uuid.uuid4()),
        "occurred": now,
        "event": "prefect.task-run.Running",
        "resource": {"prefect.resource.id": f"prefect.task-run.{uuid.uuid4()}", "prefect.orchestration": "client"},
        "related": [{"prefect.resource.id": f"prefect.flow-run.{flow_run}", "prefect.resource.role": "flow-run"}],
        "payload": {
            "validated_state": {"type": "RUNNING", "name": "Running", "state_details": {}},
            "task_run": {"name": name, "task_key": name, "dynamic_key": "0"},
        },
    }


flow = posted("/flows/", {"name": "example"})["id"]
running = {"flow_id": flow, "state": {"type": "RUNNING", "name": "Running"}}
deleted, other = (posted("/flow_runs/", running)["id"] for _ in range(2))
api.delete(f"/flow_runs/{deleted}").raise_for_status()
posted("/events", [told(run, f"task-{n}") for n in range(10) for run in (deleted, other)])

# A later one comes last: when it is there, those before it are or never will be.
deadline = time.monotonic() + 120
while "last" not in task_runs(other) and time.monotonic() < deadline:
    posted("/events", [told(other, "last")])
    time.sleep(3)
kept, wanted = len(task_runs(other) - {"last"}), int(sys.argv[1])
print("task runs that are kept of the other flow run:", kept)
sys.exit(None if kept == wanted else f"CHANGED: {kept} instead of {wanted}")
PYTHON
look() {
    PREFECT_HOME="$folder/$1" PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE=$1 prefect server start --host 127.0.0.1 --port "$port" \
        > "$folder/log" 2>&1 &
    server=$!
    echo "batch size $1"
    python "$folder/look.py" "$2"
    kill "$server"
    wait "$server" 2> /dev/null || true
    server=
}
look 200 0
look 1 10
