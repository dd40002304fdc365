"""Whose job is begun next: submitters take turns, so that who has many waiting jobs is in nobody's way.

The next one is of whoever has the fewest jobs begun and not ended; among those, of whose turn was longest
ago; and of theirs, the oldest. ``flows.local.line`` has the same rule for the slots of this machine. Who has
as many begun as their quota lets run has no turn.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.turns import take_turn
from flows.jobs.job import job_table, metadata
from flows.jobs.rules import ACTIVE

NO_LIMIT = 2**31 - 1

submitter_table = sa.Table(
    "submitter",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_turn_on", sa.DateTime(timezone=True)),
    sa.Column("hour_began_on", sa.DateTime(timezone=True)),
    sa.Column("submissions", sa.Integer, nullable=False, server_default="0"),
)
"""What is known of submitters beside their jobs; of no use once they have none under way."""

TAKE_TURN_TO_CLAIM = take_turn("bartender jobs that run are counted")
"""First in a transaction that claims."""

_job = job_table.c
_submitter = submitter_table.c

BEGUN = sa.and_(ACTIVE, _job.owner.is_not(None))
"""Whether a worker has begun the job, and it has not ended."""


@dataclass(frozen=True, slots=True)
class RunningLimits:
    """How many jobs of a submitter may be begun at once: by their name, by their roles, and of each.

    The first that is there counts, of several roles the one that lets most run. NO_LIMIT is without a limit.
    """

    own: Mapping[str, int]
    roles: Mapping[str, int]
    each: int

    def values(self) -> dict[str, object]:
        """Return the values of a statement that has ``_ALLOWED`` in it."""
        return {
            "limited": list(self.own),
            "own_limits": list(self.own.values()),
            "limited_roles": list(self.roles),
            "role_limits": list(self.roles.values()),
            "each_limit": self.each,
        }


def _limits(names: str, limits: str) -> sa.TableValuedAlias:
    texts, numbers = (
        sa.bindparam(names, type_=pg.ARRAY(sa.Text)),
        sa.bindparam(limits, type_=pg.ARRAY(sa.Integer)),
    )
    return sa.func.unnest(texts, numbers).table_valued("name", "most").render_derived(names)


def _allowed() -> sa.ColumnElement[int]:
    """Return how many jobs of its submitter may be begun once a job is, in SQL."""
    own, role = _limits("limited", "own_limits"), _limits("limited_roles", "role_limits")
    of_name = sa.select(sa.func.max(own.c.most)).where(own.c.name == _job.submitter).correlate(job_table)
    of_roles = (
        sa.select(sa.func.max(role.c.most)).where(role.c.name == sa.any_(_job.roles)).correlate(job_table)
    )
    each = sa.bindparam("each_limit", type_=sa.Integer)
    return sa.func.coalesce(of_name.scalar_subquery(), of_roles.scalar_subquery(), each)


def turns(waiting: sa.ColumnElement[bool], most: sa.ColumnElement[int], *, with_limits: bool) -> sa.CTE:
    """Return the ids of jobs that wait, with their ``turn``: the lowest is the next.

    All turns up to ``most`` are there, however many wait; ``with_limits``, none beyond RunningLimits.
    """
    share = _shares(waiting, None if with_limits else most)
    place = sa.func.row_number().over(order_by=_job.id)
    limited = [_allowed().label("allowed")] if with_limits else []
    theirs = (
        sa.select(_job.id, place.label("place"), *limited)
        .where(waiting, _job.submitter == share.c.name)
        .order_by(_job.id)
        .limit(most)
        .lateral("theirs")
    )
    # As if each were claimed before the next is looked for: whoever got one has just had a turn then.
    running = share.c.begun + theirs.c.place
    order = (running, theirs.c.place > 1, share.c.last_turn_on.asc().nulls_first(), theirs.c.id)
    ranked = sa.select(theirs.c.id, sa.func.row_number().over(order_by=order).label("turn"))
    ranked = ranked.select_from(share).join(theirs, sa.true())
    if with_limits:
        ranked = ranked.where(running <= theirs.c.allowed)
    return ranked.order_by("turn").limit(most).cte("turns").prefix_with("MATERIALIZED")


def _shares(waiting: sa.ColumnElement[bool], most: sa.ColumnElement[int] | None) -> sa.CTE:
    """Return for each submitter of waiting jobs how many of theirs are begun, and their last turn.

    Not more than the ``most`` who are next: of anybody after them, no job is among as many.
    """
    first = sa.select(sa.func.min(_job.submitter).label("name")).where(waiting)
    names = first.cte("names", recursive=True)
    # From one to the next in the index: there may be many jobs of few submitters.
    following = sa.select(sa.func.min(_job.submitter)).where(waiting, _job.submitter > names.c.name)
    names = names.union_all(sa.select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    begun = sa.select(sa.func.count()).where(BEGUN, _job.submitter == names.c.name).scalar_subquery()
    oldest = sa.select(sa.func.min(_job.id)).where(waiting, _job.submitter == names.c.name).scalar_subquery()
    last = sa.select(_submitter.last_turn_on).where(_submitter.name == names.c.name).scalar_subquery()
    shares = sa.select(names.c.name, begun.label("begun"), last.label("last_turn_on"))
    shares = shares.where(names.c.name.is_not(None))
    if most is not None:
        shares = shares.order_by(sa.text("begun"), sa.text("last_turn_on ASC NULLS FIRST"), oldest).limit(
            most
        )
    return shares.cte("shares").prefix_with("MATERIALIZED")  # else it is asked once more for each job


def with_turns_noted(claimed: sa.CTE) -> sa.CTE:
    """Return what notes whose turn it just was: part of a statement that claims these jobs."""
    # In the order of their turns in this statement, which is later than those before: they were waited for.
    when = sa.func.statement_timestamp() + sa.func.max(claimed.c.turn) * sa.text("interval '1 microsecond'")
    had = sa.select(claimed.c.submitter, when).group_by(claimed.c.submitter)
    note = pg.insert(submitter_table).from_select(["name", "last_turn_on"], had)
    noted = note.on_conflict_do_update(
        index_elements=[_submitter.name], set_={"last_turn_on": note.excluded.last_turn_on}
    )
    return noted.cte("noted")


def _held_back() -> sa.ColumnElement[bool]:
    counted = sa.select(_job.submitter, sa.func.count().label("begun")).where(BEGUN).group_by(_job.submitter)
    begun = counted.cte("begun")
    return sa.exists().where(begun.c.submitter == _job.submitter, begun.c.begun >= _allowed())


HELD_BACK = _held_back()
"""Whether a job that waits has no turn, by RunningLimits."""
