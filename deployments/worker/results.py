"""What steps returned, kept where Prefect's own engine keeps it and in the way it does.

So a run that was interrupted is continued by either engine, of this version and of those before it.
"""

import json
import logging
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect

logger = logging.getLogger(__name__)

_SERIALIZER = {
    "type": "json",
    "jsonlib": "json",
    "object_encoder": "prefect.serializers.prefect_json_object_encoder",
    "object_decoder": "prefect.serializers.prefect_json_object_decoder",
    "dumps_kwargs": {},
    "loads_kwargs": {},
}


class KeptResults:
    """Of one flow run, below the directory of results. Everything here asks the disk: call it in a thread."""

    def __init__(self, results: Path, flow_run_id: UUID) -> None:
        self._flow_run_id = flow_run_id
        self._directory = results / str(flow_run_id)

    def key(self, step: str) -> str:
        """Return where a step's result is, below the directory of results."""
        return f"{self._flow_run_id}/{step}"

    def read(self) -> dict[str, Any]:
        """Return what steps returned, by their names. Of a file that was cut off, the step runs again."""
        found: dict[str, Any] = {}
        if not self._directory.is_dir():
            return found
        for path in self._directory.iterdir():
            try:
                found[path.name] = json.loads(json.loads(path.read_bytes())["result"])
            except (ValueError, KeyError, TypeError):
                logger.warning("%s is no result; its step runs again", path)
        return found

    def write(self, step: str, value: object) -> None:
        """Keep what a step returned, which JSON can say."""
        metadata = {
            "storage_key": self.key(step),
            "expiration": None,
            "serializer": _SERIALIZER,
            "prefect_version": prefect.__version__,
            "storage_block_id": None,
        }
        self._directory.mkdir(parents=True, exist_ok=True)
        record = {"metadata": metadata, "result": json.dumps(value)}
        (self._directory / step).write_text(json.dumps(record))

    def remove(self) -> None:
        """Remove all of them, as far as they are there."""
        if self._directory.is_dir():
            for path in self._directory.iterdir():
                path.unlink()
            self._directory.rmdir()
