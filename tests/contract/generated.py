"""What Schemathesis sends, made to be about jobs and files that there are: it would hardly ever meet one.

Schemathesis imports this module, named in ``schemathesis.toml``.
"""

import itertools
import json
import os
from typing import Any

import schemathesis
from hypothesis import strategies as st

from tests.contract.conftest import zipped

Case = schemathesis.Case[Any]

JOBS: dict[str, list[int]] = json.loads(os.environ["JOBS"])
FILES = ["stdout.txt", "output/deep/end.bin", "output/a report.html", "output"]
DIRECTORIES = [".", "output", "output/deep/", "stdout.txt"]
NOBODYS = 1_000_000
ARCHIVE = zipped({"script.sh": "true", "input.txt": "x"})
UPLOADS = st.sampled_from([ARCHIVE, zipped({"other.txt": "x"}), ARCHIVE[:-9], b"no archive", b""])

schemathesis.openapi.format("binary", UPLOADS)
for media_type in ("application/zip", "application/x-zip-compressed"):
    schemathesis.openapi.media_type(media_type, UPLOADS)


_submission = itertools.count(1)


@schemathesis.hook
def before_call(_context: schemathesis.HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    kwargs["allow_redirects"] = False
    number, path = str(case.path_parameters.get("jobid")), case.path_parameters.get("path")
    if number.isdecimal():
        # Spread over the jobs by the rest of the request: the number is nearly always the same.
        spread = int(number) + len(str(case.query))
        # Ids of answers are sent again; one that is let through as it is must not be of a job that runs.
        case.path_parameters["jobid"] = chosen(spread, jobs_for(case), int(number) + NOBODYS)
    if isinstance(path, str):
        known = FILES if "/files/" in case.operation.path else DIRECTORIES
        case.path_parameters["path"] = chosen(sum(map(ord, path)), known, path)
    if 0 < len(case.headers.get("Idempotency-Key") or "") < 240:
        # Seen before, it would lead to that job, whatever else was sent.
        case.headers["Idempotency-Key"] += f"-{next(_submission)}"


def jobs_for(case: Case) -> list[int]:
    """Return those that the request may be about, and still be answered in a moment."""
    path = case.operation.path
    if case.method == "DELETE" and path.endswith("{jobid}"):
        return [JOBS["doomed"].pop()] if JOBS["doomed"] else []
    if path.endswith("/cancel"):
        return JOBS["cancelled"]
    if path.endswith("/events") or "follow" in (case.query or {}):
        return JOBS["ended"]
    return JOBS["ended"] + JOBS["running"]


def chosen(number: int, choices: list[Any], otherwise: Any) -> Any:
    """Return one of them or, for some numbers, what was generated: always the same for the same number."""
    return (*choices, otherwise)[number % (len(choices) + 1)]


@schemathesis.hook
def filter_failure(
    _context: schemathesis.HookContext,
    failure: schemathesis.core.failures.Failure,
    case: Case,
    _response: schemathesis.Response,
) -> bool:
    """In a form everything is text: ``0`` is as good a boolean as ``false``."""
    return not (failure.code == "ST201" and case.media_type == "multipart/form-data")
