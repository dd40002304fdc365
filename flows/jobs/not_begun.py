"""What jobs say that nobody has begun to run: whom they wait for, as their submitters read it."""

import sqlalchemy as sa

from flows.jobs.job import job_table

REFUSED = "Waiting: Prefect refuses the job, which is tried again; if that lasts, tell the operator."
PREFECT_AWAY = "Waiting for Prefect, which does not answer; if that lasts, tell the operator."
NO_WORKER = "Waiting for a worker, of which none runs; if that lasts, tell the operator."
PAUSED = "Waiting: the operator has paused the start of jobs."
LIMITED = "Waiting for other jobs to end: the operator has limited how many run at once."

_ALL = (REFUSED, PREFECT_AWAY, NO_WORKER, PAUSED, LIMITED)

_reason = job_table.c.reason

SAYS_NOTHING_ELSE = sa.or_(_reason.is_(None), _reason.in_(_ALL))
NO_MORE = sa.case((_reason.in_(_ALL), None), else_=_reason)
"""The reason of a job that somebody begins to run: none of these any more."""
