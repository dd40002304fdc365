"""Whose turn it is to ask a destination: one question in an interval, whichever worker asks."""

from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql as pg

from flows.database.pool import Pool
from flows.jobs.job import metadata

question_table = sa.Table(
    "question",
    metadata,
    sa.Column("destination", sa.Text, primary_key=True),
    sa.Column("next_on", sa.DateTime(timezone=True), nullable=False),
)

_question = question_table.c
_NOW = sa.func.clock_timestamp()
_destination = sa.bindparam("of", type_=sa.Text)
_next = _NOW + sa.bindparam("spacing", type_=sa.Interval)
_TAKE = (
    pg.insert(question_table)
    .values(destination=_destination, next_on=_next)
    .on_conflict_do_update(
        index_elements=[_question.destination], set_={"next_on": _next}, where=_question.next_on <= _NOW
    )
    .returning(_question.destination)
)
_WAIT = sa.select(sa.cast(sa.extract("epoch", _question.next_on - _NOW), sa.Float)).where(
    _question.destination == _destination
)


class QuestionTurns:
    """Those of one destination: ``flows.destinations.polling.Turns``."""

    def __init__(self, pool: Pool, destination: str) -> None:
        self._pool = pool
        self._destination = destination

    async def take(self, spacing: float) -> float:
        """Return 0 for a turn, after which there is none for ``spacing`` s, or in how many s to try again.

        Raises Unavailable when the database is away.
        """
        if await self._pool.fetch(_TAKE, of=self._destination, spacing=timedelta(seconds=spacing)):
            return 0.0
        found = await self._pool.fetch(_WAIT, of=self._destination)
        return max(0.01, found[0][0]) if found else 0.01
