"""Whose job is begun next: submitters take turns, so that who has many waiting jobs is in nobody's way.

The next one is of whoever has the fewest jobs begun and not ended; among those, of whose turn was longest
ago; and of theirs, the oldest. ``flows.local.line`` has the same rule for the slots of this machine.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.jobs.job import job_table, metadata
from flows.jobs.rules import ACTIVE

submitter_table = sa.Table(
    "submitter",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("last_turn_on", sa.DateTime(timezone=True)),
)
"""What is known of submitters beside their jobs; of no use once they have none under way."""

TAKE_TURN_TO_CLAIM = sa.select(
    sa.func.pg_advisory_xact_lock(sa.func.hashtext("bartender jobs that run are counted"))
)
"""First in a transaction that claims: the next statement then sees what those before have claimed."""

_job = job_table.c
_submitter = submitter_table.c

BEGUN = sa.and_(ACTIVE, _job.owner.is_not(None))
"""Whether a worker has begun the job, and it has not ended."""


def turns(waiting: sa.ColumnElement[bool], most: sa.ColumnElement[int]) -> sa.CTE:
    """Return the ids of jobs that wait, with their ``turn``: the lowest is the next.

    All turns up to ``most`` are there, however many wait.
    """
    share = _shares(waiting)
    place = sa.func.row_number().over(order_by=_job.id)
    theirs = (
        sa.select(_job.id, place.label("place"))
        .where(waiting, _job.submitter == share.c.name)
        .order_by(_job.id)
        .limit(most)
        .lateral("theirs")
    )
    # As if each were claimed before the next is looked for: whoever got one has just had a turn then.
    order = (
        share.c.begun + theirs.c.place,
        theirs.c.place > 1,
        share.c.last_turn_on.asc().nulls_first(),
        theirs.c.id,
    )
    ranked = sa.select(theirs.c.id, sa.func.row_number().over(order_by=order).label("turn"))
    return ranked.select_from(share).join(theirs, sa.true()).cte("turns")


def _shares(waiting: sa.ColumnElement[bool]) -> sa.CTE:
    """Return for each submitter of waiting jobs how many of theirs are begun, and their last turn."""
    first = sa.select(sa.func.min(_job.submitter).label("name")).where(waiting)
    names = first.cte("names", recursive=True)
    # From one to the next in the index: there may be many jobs of few submitters.
    following = sa.select(sa.func.min(_job.submitter)).where(waiting, _job.submitter > names.c.name)
    names = names.union_all(sa.select(following.scalar_subquery()).where(names.c.name.is_not(None)))
    begun = sa.select(sa.func.count()).where(BEGUN, _job.submitter == names.c.name).scalar_subquery()
    last = sa.select(_submitter.last_turn_on).where(_submitter.name == names.c.name).scalar_subquery()
    shares = sa.select(names.c.name, begun.label("begun"), last.label("last_turn_on"))
    return shares.where(names.c.name.is_not(None)).cte("shares")


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
