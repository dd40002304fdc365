"""The tables of Prefect that the route writes, as they were when it was written.

Others may mean something else by what looks the same, so nothing is written then.
"""

from typing import Any

KNOWN = {"d4a7e1c93f52": "3.8.8"}
"""Revisions of Prefect's database, and the version whose runs were compared row by row with ours."""

_STATE = """id uuid, created timestamptz, updated timestamptz, type state_type, timestamp timestamptz,
    name varchar, message varchar?, state_details jsonb, data jsonb?, result_artifact_id uuid?"""
_RUN = """id uuid, created timestamptz, updated timestamptz, name varchar, state_type state_type?,
    run_count int4, expected_start_time timestamptz?, next_scheduled_start_time timestamptz?,
    start_time timestamptz?, end_time timestamptz?, total_run_time interval, empirical_policy jsonb,
    tags jsonb, state_id uuid?, state_name varchar?, state_timestamp timestamptz?, labels jsonb?"""

# A question mark: may be null. In any order: databases that were migrated from older versions have others.
COLUMNS = {
    "flow_run": f"""{_RUN}, flow_version varchar?, parameters jsonb, idempotency_key varchar?, context jsonb,
    auto_scheduled bool, flow_id uuid, deployment_id uuid?, parent_task_run_id uuid?,
    infrastructure_document_id uuid?, work_queue_name varchar?, created_by jsonb?,
    infrastructure_pid varchar?, work_queue_id uuid?, job_variables jsonb?, deployment_version varchar?""",
    "flow_run_state": f"{_STATE}, flow_run_id uuid",
    "task_run": f"""{_RUN}, task_key varchar, dynamic_key varchar, cache_key varchar?,
    cache_expiration timestamptz?, task_version varchar?, task_inputs jsonb, flow_run_id uuid?,
    flow_run_run_count int4""",
    "task_run_state": f"{_STATE}, task_run_id uuid",
    "events": """occurred timestamptz, event text, resource_id text, resource jsonb,
    related_resource_ids jsonb, related jsonb, payload jsonb, received timestamptz, recorded timestamptz,
    follows uuid?, id uuid, created timestamptz, updated timestamptz""",
    "event_resources": """occurred timestamptz, resource_id text, resource_role text, resource json,
    event_id uuid, id uuid, created timestamptz, updated timestamptz""",
}

_FIND = """
SELECT table_name, column_name, udt_name, is_nullable = 'YES' AS nullable
FROM information_schema.columns
WHERE table_schema = current_schema() AND table_name = ANY($1::text[])
"""
_REVISION = "SELECT version_num FROM alembic_version"


async def difference(connection: Any) -> str | None:
    """Return how the database differs from what is known, for a log; None when it does not."""
    revisions = {row["version_num"] for row in await connection.fetch(_REVISION)}
    if not revisions <= KNOWN.keys():
        return f"the revision {', '.join(sorted(revisions))} of Prefect's database is not known."
    found: dict[str, set[str]] = {table: set() for table in COLUMNS}
    for row in await connection.fetch(_FIND, list(COLUMNS)):
        mark = "?" if row["nullable"] else ""
        found[row["table_name"]].add(f"{row['column_name']} {row['udt_name']}{mark}")
    for table, columns in COLUMNS.items():
        differing = found[table] ^ {" ".join(column.split()) for column in columns.split(",")}
        if differing:
            return f"Prefect's table {table} has other columns: {', '.join(sorted(differing))}."
    return None
