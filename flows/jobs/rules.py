"""What a job's row says of how far the job is. Each rule has two forms: for a row in SQL, for a ``Job``.

SQL decides under which condition a row is changed; Python looks at rows that were read. Were the two to
disagree, clean-up would remove the files of a job that a worker still runs. So they stand side by side here,
and tests/flows/jobs/test_rules.py holds them against each other for all rows that there can be.
"""

from collections.abc import Collection

import sqlalchemy as sa

from flows.errors import DestinationRefused, InternalError, StagingFailed
from flows.jobs.job import Job, State, job_table

_job = job_table.c


def in_states(states: Collection[State]) -> sa.ColumnElement[bool]:
    """Return whether a row's state is among these: written out, since there are indexes of some states."""
    if not states:
        return sa.false()
    return _job.state.in_([sa.literal_column(f"'{state}'") for state in states])


ENDED = in_states([State.OK, State.ERROR])
"""``State.is_final`` in SQL."""

ACTIVE = sa.not_(ENDED)

# A job is settled when it has ended and nobody is left who has to do anything for it. Two may be left:
#
# - the worker that owns it: it may still end the command or fetch files, and lets go of the job last.
# - whoever tells its flow run that the job was cancelled: the row says so first, and ``cancel_requested`` is
#   taken back when Prefect has heard of it. A job that never got a flow run has none to be told.
SETTLED = sa.and_(
    ENDED,
    _job.owner.is_(None),
    sa.or_(_job.flow_run_id.is_(None), sa.not_(_job.cancel_requested)),
)


def is_settled(job: Job) -> bool:
    """Whether what is left of the job, but for its row and outputs, is of no use to anybody."""
    return job.state.is_final and job.owner is None and (job.flow_run_id is None or not job.cancel_requested)


NOT_THEIR_FAULT = (InternalError.kind, DestinationRefused.kind, StagingFailed.kind)
"""What the operator may mend, and then run a job again whose command never was handed over."""

# A command is started once only. So a job may run again when no scheduler can have had its command: the
# destination is written down before the command is handed over, and the scheduler's id after that. And when
# it ended by no fault of its own, since else it would only end so again; and still is somebody's.
MAY_RUN_AGAIN = sa.and_(
    _job.state == State.ERROR,
    # Of no kind is NULL, which must be no here: "not may run again" has to be true then.
    sa.func.coalesce(_job.reason_kind, "").in_(NOT_THEIR_FAULT),
    _job.destination.is_(None),
    _job.scheduler_id.is_(None),
    _job.deleted_on.is_(None),
)


def may_run_again(job: Job) -> bool:
    """Whether an operator may run the job once more. Its archive has to be there, too."""
    return (
        job.state is State.ERROR
        and job.reason_kind in NOT_THEIR_FAULT
        and job.destination is None
        and job.scheduler_id is None
        and job.deleted_on is None
    )
