"""When a step that failed is tried again: for as long as the part that it needs is away."""

import logging
from contextlib import suppress
from itertools import islice

from flows.errors import BartenderError, with_cause
from flows.lifecycle.runtime import current
from flows.waiting.patience import Delays

logger = logging.getLogger(__name__)

RETRIES = 1_000_000
RETRY_DELAYS = list(islice(Delays(1.0, longest=60.0, jitter=0), 7))
"""Seconds; the last one is repeated. A part that is away does not fail jobs: they wait for it."""

RETRY_JITTER = 0.5
"""The part of each delay that chance takes away or adds."""


async def is_to_be_retried(job_id: int, step: str, error: object) -> bool:
    """Whether the step may succeed later; if so, its job says meanwhile what it waits for."""
    if not isinstance(error, BartenderError) or not error.transient:
        return False
    logger.warning("Job %s waits in %s: %s", job_id, step, with_cause(error))
    # The database may be what is away; and whose the job is by now, the next try finds out.
    with suppress(BartenderError):
        await current().jobs.explain(job_id, f"Waiting: {error}")
    return True
