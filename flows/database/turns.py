"""Transactions of one kind that come one after another, in whatever processes."""

import sqlalchemy as sa

FROZEN = "5s"
"""After so long in silence whoever has the turn loses it, and nothing of the transaction is done."""

_PATIENCE = "10s"  # longer than that, but shorter than a process waits for any answer


def _only_here(setting: str, value: str) -> sa.Function[str]:
    return sa.func.set_config(setting, value, sa.true())


def take_turn(kind: sa.ColumnElement[str] | str) -> sa.Select[tuple[str, str, None]]:
    """Return what waits until no transaction before has a turn of this kind: first in a transaction.

    The next statement then sees what those before have done. A frozen process holds nobody up for longer than
    FROZEN, also by what it has locked besides.
    """
    return sa.select(
        _only_here("idle_in_transaction_session_timeout", FROZEN),
        _only_here("lock_timeout", _PATIENCE),
        sa.func.pg_advisory_xact_lock(sa.func.hashtext(kind)),
    )
