"""How Prefect servers are set up for us. What an operator sets in the environment wins."""

import os

_LESS_TO_DO = {
    "DO_NOT_TRACK": "1",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",  # automations
}

_BATCHES = {
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_BATCH_SIZE": "500",
    "PREFECT_SERVER_SERVICES_EVENT_PERSISTER_READ_BATCH_SIZE": "100",
    # One by one: of a batch, nothing is kept where one flow run was deleted. What fails is tried again.
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_BATCH_SIZE": "1",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_FLUSH_INTERVAL": "1",
    "PREFECT_SERVER_SERVICES_TASK_RUN_RECORDER_READ_BATCH_SIZE": "100",
}

_CONNECTIONS = {
    # The default pool of 5 opens connections anew all the time, each of which looks up all types. Those
    # that nobody needs are closed by the database (``IDLE_CONNECTIONS``).
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "30",
    "PREFECT_SERVER_DATABASE_SQLALCHEMY_MAX_OVERFLOW": "10",
}

# On a machine that is busy all takes longer than Prefect's own 5 and 10 s allow. A server that cannot connect
# while it starts ends.
_PATIENCE = {
    "PREFECT_SERVER_DATABASE_CONNECTION_TIMEOUT": "30",
    "PREFECT_SERVER_DATABASE_TIMEOUT": "30",
}

_KEPT = {
    "PREFECT_SERVER_EVENTS_RETENTION_PERIOD": "P7D",
    # Flow runs are removed by flows/clean_up.py; what it leaves of them, by the server itself.
    "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,orphans",
}

# Seconds between looks for what is rare here, each of which costs statements while nobody does anything.
_SELDOM = {
    "PREFECT_SERVER_SERVICES_CLEANUP_RECONCILER_LOOP_SECONDS": "600",  # of workers that are not ours
    "PREFECT_SERVER_SERVICES_FOREMAN_LOOP_SECONDS": "30",  # workers that are gone
    "PREFECT_SERVER_SERVICES_LATE_RUNS_LOOP_SECONDS": "30",
    "PREFECT_SERVER_SERVICES_PAUSE_EXPIRATIONS_LOOP_SECONDS": "60",
    "PREFECT_SERVER_SERVICES_REPOSSESSOR_LOOP_SECONDS": "60",  # slots of concurrency limits
    # Of new and changed schedules, which those that come a moment too late have to wait for the next look at
    # all of them: a minute, as Prefect has it.
    "PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "10",
}

TUNING = {
    **_LESS_TO_DO,
    **_BATCHES,
    **_CONNECTIONS,
    **_PATIENCE,
    **_KEPT,
    **_SELDOM,
    # It asks for the children of each run that was cancelled in the last day, and calls what is Cancelling
    # for 5 min Cancelled, though its command may run. Workers end what is Cancelling (worker/operators.py).
    "PREFECT_SERVER_SERVICES_CANCELLATION_CLEANUP_ENABLED": "false",
    "PREFECT_SERVER_UI_API_URL": "/api",  # relative: the UI also works through a tunnel or proxy
}

# What says where another server is, or who we are to it, must not reach one of ours.
_NOT_INHERITED = ("PREFECT_API_URL", "PREFECT_API_KEY", "PREFECT_API_AUTH_STRING", "PREFECT_PROFILE")

_BY_REDIS = {
    "PREFECT_SERVER_EVENTS_MESSAGING_BROKER": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_MESSAGING_CACHE": "prefect_redis.messaging",
    "PREFECT_SERVER_EVENTS_CAUSAL_ORDERING": "prefect_redis.ordering",
    "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect_redis.lease_storage",
    "PREFECT_SERVER_WORKER_CHANNEL_CLEANUP_QUEUE_STORAGE": "prefect_redis.cleanup_queue",
    # Without one, a Redis whose machine vanished is waited for, for ever. Longer than a read blocks: 1 s.
    "PREFECT_REDIS_MESSAGING_SOCKET_TIMEOUT": "5",
    "PREFECT_REDIS_MESSAGING_SOCKET_CONNECT_TIMEOUT": "5",
}


def environment() -> dict[str, str]:
    """Return what a Prefect server of ours is started with, before what is its own."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name not in _NOT_INHERITED and not name.startswith("BARTENDER_")
    }
    # As `prefect server start` does: frees what only a next application in its process needs.
    return {**TUNING, **inherited, "PREFECT__SERVER_FINAL": "1"}


def by_redis(url: str) -> dict[str, str]:
    """Return what several servers on one database need besides: messages, locks and tasks go by Redis."""
    names = (
        "PREFECT_REDIS_MESSAGING_URL",
        "PREFECT_REDIS_WORKER_CLEANUP_QUEUE_URL",
        "PREFECT_SERVER_DOCKET_URL",
    )
    return {**_BY_REDIS, **dict.fromkeys(names, url)}


IDLE_CONNECTIONS = {"idle_session_timeout": "60s"}
"""For its database. It asks a connection whether it is alive before each use, and uses the last one first."""
