"""Runs one task of the TES server for tests, in a container of podman: ``python -m … DIRECTORY``."""

import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any


def main(directory: Path) -> None:
    task = json.loads((directory / "task.json").read_text())
    log: dict[str, Any] = {"logs": [], "system_logs": []}
    tell(directory, "INITIALIZING", log)
    try:
        state = work(directory, task, log)
    except Exception as error:
        state = "SYSTEM_ERROR"
        log["system_logs"].append(f"{type(error).__name__}: {error}")
    if (directory / "cancelled").exists() and state != "COMPLETE":
        state = "CANCELED"
    tell(directory, state, log)
    shutil.rmtree(directory / "files", ignore_errors=True)


def work(directory: Path, task: dict[str, Any], log: dict[str, Any]) -> str:
    files = directory / "files"
    for given in task.get("inputs", []):
        place = there(files, given["path"])
        if "url" in given:
            with urllib.request.urlopen(given["url"]) as source, place.open("wb") as target:
                shutil.copyfileobj(source, target)
        else:
            place.write_text(given["content"])
    for path in [*task.get("volumes", []), *(Path(o["path"]).parent for o in task.get("outputs", []))]:
        there(files, f"{path}/x")
    for executor in task["executors"]:
        tell(directory, "RUNNING", log)
        if (code := run(directory, executor, log)) != 0:
            return "EXECUTOR_ERROR" if code > 0 else "CANCELED"
    for output in task.get("outputs", []):
        content = there(files, output["path"]).read_bytes()
        asked = urllib.request.Request(output["url"], content, method="PUT")
        urllib.request.urlopen(asked).close()
    return "COMPLETE"


def run(directory: Path, executor: dict[str, Any], log: dict[str, Any]) -> int:
    podman = os.environ["TES_PODMAN"].split()
    files, name = directory / "files", f"tes-{directory.name}"
    mounts = [f"--volume={path}:/{path.name}" for path in files.iterdir()]
    if shared := os.environ.get("TES_SHARED"):
        mounts.append(f"--volume={shared}:{shared}")
    command = [*podman, "run", "--rm", f"--name={name}", "--network=host", "--pid=host", *mounts]
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as errors:
        process = subprocess.Popen(
            [*command, executor["image"], *executor["command"]], stdout=out, stderr=errors
        )
        while process.poll() is None:
            if (directory / "cancelled").exists():
                subprocess.run([*podman, "kill", name], capture_output=True, check=False)
            time.sleep(0.05)
    said = {kind: (directory / kind).read_text(errors="replace")[-10_000:] for kind in ("stdout", "stderr")}
    log["logs"].append({"exit_code": process.returncode, **said})
    return -1 if (directory / "cancelled").exists() and process.returncode else process.returncode


def there(files: Path, path: str) -> Path:
    place = files / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    return place


def tell(directory: Path, state: str, log: dict[str, Any]) -> None:
    new = directory / "log.new"
    new.write_text(json.dumps({"state": state, "logs": [log]}))
    new.replace(directory / "log.json")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
