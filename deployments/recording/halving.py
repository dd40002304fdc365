"""What is done with runs that cannot be told together: one of them must not keep others from being told."""

import logging
from collections.abc import Awaitable, Callable, Sequence

from deployments.recording.reports import Answer, RunReport, Verdict

logger = logging.getLogger(__name__)


async def in_halves(
    runs: Sequence[RunReport], why: str, tell: Callable[[Sequence[RunReport]], Awaitable[Sequence[Answer]]]
) -> list[Answer]:
    """Tell of each half by itself; one that is alone is refused, for this reason."""
    if len(runs) == 1:
        logger.warning("The flow run %s cannot be recorded: %s", runs[0].flow_run_id, why)
        return [Answer(Verdict.REFUSED, why)]
    half = len(runs) // 2
    return [*await tell(runs[:half]), *await tell(runs[half:])]
