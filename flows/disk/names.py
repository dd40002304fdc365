"""What our files and directories are called: who makes a name stands beside what finds it again.

Each pattern has one group that is set: the token, or the number of the job or flow run.
"""

import re
import secrets
import uuid

_UUID = "([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})"  # ids of flow runs look like this, too


# Among the uploads


def upload(token: str) -> str:
    """Return the name of the archive that a visitor sent."""
    return f"{token}.archive"


UPLOAD = re.compile(rf"{_UUID}\.archive")


# Among the results


def results(flow_run_id: uuid.UUID) -> str:
    """Return the name of what the steps of a flow run returned."""
    return str(flow_run_id)


RESULTS = re.compile(rf"{_UUID}|([0-9a-f]{{32}})")
"""Also what steps raised: Prefect keeps that under random names, and nobody reads it."""


# Among the jobs


def of_job(job_id: int) -> str:
    """Return the name of a job's directory."""
    return str(job_id)


OF_JOB = re.compile(r"(\d{1,18})")


def hidden(job_id: int, token: str) -> str:
    """Return the name of a job's directory that is half unpacked, or half removed.

    The token proves whose it is, should it be left there.
    """
    return f".{job_id}.{token}"


def fetched(token: str) -> str:
    """Return the name of the directory with what has come back from a destination by now."""
    return f".{token}.draft"


def guard(token: str) -> str:
    """Return the name under which a job's script notes that it has begun, at whatever destination."""
    return f".{token}.started"


def transfer(token: str) -> str:
    """Return the name of the directory with what is offered to, and has come from, who fetches by HTTP."""
    return f".{token}.transfer"


def withdrawn(token: str) -> str:
    """Return a new name for that directory, under which it is removed."""
    return f"{transfer(token)}.{secrets.token_hex(4)}"


HIDDEN = re.compile(rf"\.(?:\d+\.{_UUID}|{_UUID}\.(?:draft|started|transfer(?:\.[0-9a-f]{{8}})?))")
"""What is of no use once the job has ended."""


def aside(job_id: int) -> str:
    """Return a new name for what was in the place of a job's directory, and is not ours to destroy."""
    return f".{job_id}.{uuid.uuid4().hex}"


ASIDE = re.compile(r"\.(\d+)(?:\.[0-9a-f]{32})?")
"""An earlier version had no random part."""


# Among the jobs at a destination that is another machine: the token is the name of the job's directory


def inputs(token: str) -> str:
    """Return the name of the listing of what was brought there, to tell what the job has changed."""
    return f".{token}.inputs"


def drafts(token: str) -> str:
    """Return what the names of all drafts of the job's directory begin with."""
    return f".{token}.draft."


def draft(token: str) -> str:
    """Return a new name for the directory while it comes to be, since the last attempt may be going on."""
    return drafts(token) + secrets.token_hex(4)


def inputs_of_draft(draft: str) -> str:
    """Return the name of the listing until the draft is in its place."""
    return f"{draft}.inputs"


def taken(draft: str) -> str:
    """Return what the names begin with that an attempt gives to the drafts of others, to remove them."""
    return f"{draft}.taken"


AT_DESTINATION = re.compile(
    rf"{_UUID}|\.{_UUID}\.(?:inputs|started|draft\.[0-9a-f]{{8}}(?:\.inputs|\.taken\d+)?)"
)


def key(pattern: re.Pattern[str], name: str) -> str | None:
    """Return the token or number in a name; None where it is another kind of name."""
    match = pattern.fullmatch(name)
    return None if match is None else next(group for group in match.groups() if group is not None)
