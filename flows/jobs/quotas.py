"""How much each submitter may have: what is counted, and what becomes of more.

Submissions beyond a quota are refused, but for that of jobs that run: beyond it, jobs wait
(``flows.jobs.shares``).
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.pool import Pool, Transaction
from flows.database.turns import take_turn
from flows.errors import VisitorError
from flows.jobs.job import State, job_table
from flows.jobs.rules import ACTIVE, in_states
from flows.jobs.shares import BEGUN, submitter_table

HOUR = timedelta(hours=1)
WAIT = 60
"""Seconds after which to try again where nobody can tell when there will be room."""

_job = job_table.c
_submitter = submitter_table.c


class QuotaExceeded(VisitorError):
    """The visitor has as much as they may. ``retry_after`` in s; None: waiting alone does not help."""

    def __init__(self, message: str, quota: "Quota", use: "Use", retry_after: int | None) -> None:
        super().__init__(message)
        self.quota = quota
        self.use = use
        self.retry_after = retry_after


class BytesExceeded(QuotaExceeded):
    """What the visitor keeps leaves no room for more."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Use:
    """What a submitter has now.

    ``running``: jobs that were begun and have not ended; ``queued``: those that wait, begun or not.
    ``bytes``: of jobs that are not deleted, archives until a job's end. ``submissions`` of the hour that is
    over in ``hour_left`` s.
    """

    running: int
    queued: int
    bytes: int
    submissions: int
    hour_left: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Quota:
    """The most that a submitter may have of each; None is without a limit."""

    running: int | None = None
    queued: int | None = None
    bytes: int | None = None
    submissions: int | None = None

    def limits(self) -> Iterator[tuple[str, int]]:
        """Yield the names and values of those that there are."""
        for field in fields(self):
            if (most := getattr(self, field.name)) is not None:
                yield field.name, most

    def __bool__(self) -> bool:
        return any(self.limits())

    @property
    def refuses(self) -> bool:
        """Whether a submission may be one too many; of how many run, none is."""
        return (self.queued, self.bytes, self.submissions) != (None, None, None)

    def check(self, use: Use, size: int = 0) -> None:
        """Raise QuotaExceeded where a submission with an archive of so many bytes is one too many."""
        if self.submissions is not None and use.submissions >= self.submissions:
            wait = math.ceil(use.hour_left)
            raise QuotaExceeded(
                f"You have submitted {use.submissions} jobs within an hour, which is as many as you may; "
                f"submit again in {math.ceil(wait / 60)} minutes.",
                self,
                use,
                wait,
            )
        if self.queued is not None and use.queued >= self.queued:
            raise QuotaExceeded(
                f"{use.queued} jobs of yours wait, which is as many as may; submit again when fewer do, or "
                "cancel some.",
                self,
                use,
                WAIT,
            )
        if self.bytes is not None and (use.bytes >= self.bytes or use.bytes + size > self.bytes):
            kept = f"Your jobs keep {use.bytes} bytes" + (f", and this one has {size}" if size else "")
            raise BytesExceeded(
                f"{kept}; you may keep {self.bytes}: delete jobs that you do not need any more.",
                self,
                use,
                None,
            )


_name = sa.bindparam("submitter", type_=sa.Text)
_theirs = _job.submitter == _name
_hour_ends = _submitter.hour_began_on + HOUR
_hour_lasts = _hour_ends > sa.func.clock_timestamp()


def _number(what: sa.ColumnElement[int], *where: sa.ColumnElement[bool]) -> sa.ScalarSelect[int]:
    return sa.select(what).select_from(job_table).where(_theirs, *where).scalar_subquery()


def _of_hour(column: sa.ColumnElement[float]) -> sa.ColumnElement[float]:
    row = sa.select(column).where(_submitter.name == _name, _hour_lasts).scalar_subquery()
    return sa.func.coalesce(row, 0)


_USE = sa.select(
    _number(sa.func.count(), BEGUN).label("running"),
    # Each by the index that has no others: thousands may be theirs, and more have ended.
    (
        _number(sa.func.count(), _job.owner.is_(None), ACTIVE)
        + _number(sa.func.count(), BEGUN, in_states([State.NEW, State.QUEUED]))
    ).label("queued"),
    _number(
        sa.cast(sa.func.coalesce(sa.func.sum(_job.bytes), 0), sa.BigInteger),
        _job.deleted_on.is_(None),
        _job.bytes.is_not(None),
    ).label("bytes"),
    _of_hour(_submitter.submissions).label("submissions"),
    _of_hour(sa.cast(sa.extract("epoch", _hour_ends - sa.func.clock_timestamp()), sa.Float)).label(
        "hour_left"
    ),
)
_TAKE_TURN = take_turn(sa.func.concat("submissions of ", _name))
_FIRST = pg.insert(submitter_table).values(name=_name, hour_began_on=sa.func.clock_timestamp(), submissions=1)
_COUNT = _FIRST.on_conflict_do_update(
    index_elements=[_submitter.name],
    set_={
        "hour_began_on": sa.case((_hour_lasts, _submitter.hour_began_on), else_=sa.func.clock_timestamp()),
        "submissions": sa.case((_hour_lasts, _submitter.submissions + 1), else_=1),
    },
)


async def use_of(asked: Pool | Transaction, submitter: str) -> Use:
    """Return what a submitter has now."""
    [row] = await asked.fetch(_USE, submitter=submitter)
    return Use(**row)


async def take_turn_to_submit(transaction: Transaction, submitter: str) -> None:
    """Let no other submission of theirs be counted before this transaction is over."""
    await transaction.fetch(_TAKE_TURN, submitter=submitter)


async def count_submission(transaction: Transaction, submitter: str) -> None:
    """Note that they have submitted one more."""
    await transaction.fetch(_COUNT, submitter=submitter)
