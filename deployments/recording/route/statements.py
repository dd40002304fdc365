"""The SQL of the route. Tables and columns are Prefect's: ``tables`` says which."""

# JSON goes both ways as text: which codec a connection of SQLAlchemy has is its own affair.
FIND_DEPLOYMENT = """
SELECT d.id, d.name, d.tags::text, coalesce(d.labels, '{}')::text AS labels, d.parameters::text, d.version,
       d.work_queue_id, d.work_queue_name,
       q.name AS queue_name, p.id AS pool_id, p.name AS pool_name, p.type AS pool_type,
       f.id AS flow_id, f.name AS flow_name, f.tags::text AS flow_tags,
       coalesce(f.labels, '{}')::text AS flow_labels,
       (SELECT b.id FROM block_document b WHERE b.name = $3 AND b.block_type_name = 'Local File System')
         AS results_id
FROM deployment d
JOIN flow f ON f.id = d.flow_id
LEFT JOIN work_queue q ON q.id = d.work_queue_id
LEFT JOIN work_pool p ON p.id = q.work_pool_id
WHERE f.name = $1 AND d.name = $2
"""

# Until our transaction ends, nobody else changes these; in the order that everybody else of us takes.
LOCK_RUNS = """
SELECT id, tags::text, state_id, state_type::text, state_name, state_timestamp
FROM flow_run WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE
"""

STATES_OF_RUNS = """
SELECT flow_run_id, id, type::text, name, timestamp
FROM flow_run_state WHERE flow_run_id = ANY($1::uuid[]) ORDER BY timestamp
"""

STATES_OF_TASKS = """
SELECT t.flow_run_id, s.task_run_id, s.id, s.type::text, s.name, s.timestamp
FROM task_run t JOIN task_run_state s ON s.task_run_id = t.id
WHERE t.flow_run_id = ANY($1::uuid[]) ORDER BY s.timestamp
"""

_STATE = "id, type, name, timestamp, message, data, state_details"
_ITS_STATE = "id, type, name, timestamp, message, data, nothing || state_details"
_RUN = """id, name, state_id, state_type, state_name, state_timestamp, run_count, start_time, end_time,
       total_run_time, expected_start_time, empirical_policy, tags, labels"""
_FLOW_RUN = f"""{_RUN}, next_scheduled_start_time, parameters, idempotency_key, context, auto_scheduled,
       flow_id, deployment_id, deployment_version, work_queue_id, work_queue_name, job_variables"""
_TASK_RUN = f"{_RUN}, flow_run_id, task_key, dynamic_key, task_inputs, flow_run_run_count"
_EVENT = "id, occurred, event, resource_id, resource, related_resource_ids, related, payload, follows"

# Of a run that is there already; its name and all that it was made with stay.
_WHAT_IT_IS = """state_id = excluded.state_id, state_type = excluded.state_type,
    state_name = excluded.state_name, state_timestamp = excluded.state_timestamp,
    run_count = excluded.run_count, start_time = excluded.start_time, end_time = excluded.end_time,
    total_run_time = excluded.total_run_time"""

# One statement, since a run and its state refer to each other: both are there when it ends. It is given the
# rows by table, and the details of a state of which there is nothing to say.
WRITE = f"""
WITH batch AS MATERIALIZED (SELECT $1::text::jsonb AS tables, $2::text::jsonb AS nothing),
flow_runs AS (
  INSERT INTO flow_run ({_FLOW_RUN})
  SELECT {_FLOW_RUN} FROM batch, jsonb_populate_recordset(NULL::flow_run, tables->'flow_run')
  ON CONFLICT (id) DO UPDATE SET
    {_WHAT_IT_IS}, tags = excluded.tags,
    next_scheduled_start_time = excluded.next_scheduled_start_time, updated = now()
  WHERE flow_run.state_timestamp IS NULL OR flow_run.state_timestamp < excluded.state_timestamp
),
flow_run_states AS (
  INSERT INTO flow_run_state ({_STATE}, flow_run_id)
  SELECT {_ITS_STATE}, flow_run_id
  FROM batch, jsonb_populate_recordset(NULL::flow_run_state, tables->'flow_run_state')
  ON CONFLICT (id) DO NOTHING
),
task_runs AS (
  INSERT INTO task_run ({_TASK_RUN})
  SELECT {_TASK_RUN} FROM batch, jsonb_populate_recordset(NULL::task_run, tables->'task_run')
  ON CONFLICT (id) DO UPDATE SET
    {_WHAT_IT_IS}, flow_run_run_count = excluded.flow_run_run_count,
    updated = now()
  WHERE task_run.state_timestamp < excluded.state_timestamp
),
task_run_states AS (
  INSERT INTO task_run_state ({_STATE}, task_run_id)
  SELECT {_ITS_STATE}, task_run_id
  FROM batch, jsonb_populate_recordset(NULL::task_run_state, tables->'task_run_state')
  ON CONFLICT (id) DO NOTHING
),
told AS (
  INSERT INTO events ({_EVENT}, received, recorded)
  SELECT {_EVENT}, now(), now() FROM batch, jsonb_populate_recordset(NULL::events, tables->'events')
  ON CONFLICT (id) DO NOTHING
  RETURNING id, occurred, resource, related
)
INSERT INTO event_resources (event_id, occurred, resource_id, resource_role, resource)
SELECT told.id, occurred, it->>'prefect.resource.id', coalesce(it->>'prefect.resource.role', ''),
       (it - 'prefect.resource.id' - 'prefect.resource.role')::json
FROM told, jsonb_array_elements(jsonb_build_array(told.resource) || told.related) AS it
"""  # noqa: S608 - what is put in are names of columns, from above
