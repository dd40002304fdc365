"""What the scheduled flows say of themselves in Prefect's UI: logs, and a table of what they did."""

import logging
from collections import Counter
from typing import Any

from prefect.artifacts import acreate_table_artifact
from prefect.context import FlowRunContext

logger = logging.getLogger("prefect.flow_runs.upkeep")
"""Its messages go to the logs of the flow run in Prefect."""

logger.setLevel(logging.INFO)

MAX_ROWS = 500
"""Of a table; what is more is counted only."""


class Findings:
    """The rows of the table, and how many there are of each kind."""

    def __init__(self) -> None:
        self._rows: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()

    def add(self, what: str, which: object, action: str, *, number: int = 1) -> None:
        """Note what was done, or would be, to something."""
        self._counts[f"{what}: {action}"] += number
        if len(self._rows) < MAX_ROWS:
            self._rows.append({"what": what, "which": str(which), "action": action})
            if FlowRunContext.get() is not None:
                logger.info("%s %s: %s", what, which, action)

    def count(self, what: str) -> int:
        """Return how many of these there are, whatever was done to them."""
        return sum(number for key, number in self._counts.items() if key.startswith(f"{what}: "))

    def summary(self, nothing: str) -> str:
        """Return one line; ``nothing`` when nothing was noted."""
        return "; ".join(f"{key} {number}" for key, number in sorted(self._counts.items())) or nothing

    async def publish(self, key: str, nothing: str) -> None:
        """Show the table in Prefect's UI, under Artifacts and at the flow run."""
        if FlowRunContext.get() is None:
            return
        description = self.summary(nothing)
        if len(self._rows) == MAX_ROWS:
            description += f" (the first {MAX_ROWS} are shown)"
        await acreate_table_artifact(self._rows, key=key, description=description)
