"""Rules that have a form in SQL and one in Python: both say the same of every row that there can be."""

import itertools
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

from flows.database.pool import Pool
from flows.errors import JobFailure
from flows.jobs.job import Job, State, job_table
from flows.jobs.rows import JobRows
from flows.jobs.rules import ACTIVE, ENDED, MAY_RUN_AGAIN, SETTLED, is_settled, may_run_again

NOW = datetime.now(UTC)
AT_ONCE = 1000


def kinds(failure: type[JobFailure]) -> set[str]:
    own = {failure.kind} if hasattr(failure, "kind") else set()
    return own.union(*map(kinds, failure.__subclasses__()))


# Of each column that a rule looks at, or might come to look at, all values that make a difference.
COLUMNS: dict[str, list[Any]] = {
    "state": list(State),
    "reason_kind": [None, "", *sorted(kinds(JobFailure))],
    "destination": [None, "", "local"],
    "scheduler_id": [None, "", "4711"],
    "owner": [None, 0, 7],
    "flow_run_id": [None, "one"],
    "cancel_requested": [False, True],
    "deleted_on": [None, NOW],
}

RULES: dict[str, tuple[sa.ColumnElement[bool], Callable[[Job], bool]]] = {
    "ended": (ENDED, lambda job: job.state.is_final),
    "active": (ACTIVE, lambda job: not job.state.is_final),
    "settled": (SETTLED, is_settled),
    "may run again": (MAY_RUN_AGAIN, may_run_again),
}


def row(values: tuple[Any, ...]) -> dict[str, Any]:
    row = dict(zip(COLUMNS, values, strict=True))
    if row["flow_run_id"] is not None:
        row["flow_run_id"] = uuid.uuid4()
    common = {"name": "job", "application": "a", "submitter": "me", "roles": [], "command": "true"}
    return row | common | {"token": uuid.uuid4()}


@pytest.fixture
async def jobs(pool: Pool) -> dict[int, Job]:
    """One job for each combination."""
    rows = [row(values) for values in itertools.product(*COLUMNS.values())]
    for start in range(0, len(rows), AT_ONCE):
        await pool.fetch(sa.insert(job_table).values(rows[start : start + AT_ONCE]))
    found = await JobRows(pool)._all(sa.select(job_table))
    assert len(found) == len(rows)
    return {job.id: job for job in found}


async def test_the_two_forms_of_each_rule_agree(pool: Pool, jobs: dict[int, Job]) -> None:
    forms = [sql.label(name) for name, (sql, _) in RULES.items()]
    said = await pool.fetch(sa.select(job_table.c.id, *forms))
    for name, (_, python) in RULES.items():
        held = {python(job) for job in jobs.values()}
        assert held == {True, False}, f"no row shows when a job is {name}"
        # NULL would be neither: its opposite is NULL as well.
        different = [jobs[row["id"]] for row in said if row[name] is not python(jobs[row["id"]])]
        assert not different, f"{name}: {len(different)} rows, such as {different[0]}"
