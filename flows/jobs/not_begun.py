"""What jobs say that nobody has begun to run: whom they wait for, as their submitters read it."""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import job_table

REFUSED = "Waiting: Prefect refuses the job, which is tried again; if that lasts, tell the operator."
PREFECT_AWAY = "Waiting for Prefect, which does not answer; if that lasts, tell the operator."
NO_WORKER = "Waiting for a worker, of which none runs; if that lasts, tell the operator."
PAUSED = "Waiting: the operator has paused the start of jobs."
LIMITED = "Waiting for other jobs to end: the operator has limited how many run at once."
AS_MANY_AS_YOU_MAY = "Waiting for other jobs of yours to end: as many run as you may have at once."

_ALL = sa.literal([REFUSED, PREFECT_AWAY, NO_WORKER, PAUSED, LIMITED, AS_MANY_AS_YOU_MAY], pg.ARRAY(sa.Text))

_reason = job_table.c.reason

_WAIT_FOR_OTHERS = (LIMITED, AS_MANY_AS_YOU_MAY)

_says_one = _reason == sa.any_(_ALL)
NO_MORE = sa.case((_says_one, None), else_=_reason)
"""The reason of a job that somebody begins to run: none of these any more."""


def is_news(reason: str) -> sa.ColumnElement[bool]:
    """Return whether a job that waits is to say this: it says nothing of another kind, nor as much already.

    Which other jobs it waits for changes with each that ends, for thousands that wait: the first one stays.
    """
    as_much = _WAIT_FOR_OTHERS if reason in _WAIT_FOR_OTHERS else (reason,)
    others = sa.and_(_says_one, _reason != sa.all_(sa.literal(list(as_much), pg.ARRAY(sa.Text))))
    return sa.or_(_reason.is_(None), others)
