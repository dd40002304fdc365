"""A job as a task: https://ga4gh.github.io/task-execution-schemas/docs/."""

from collections.abc import Mapping
from typing import Any

from flows.destinations.scheduler import Submission
from flows.errors import DestinationRefused
from flows.tes import references
from flows.wrapper.command import payload
from flows.wrapper.script import Wrapping, script

TOKEN_TAG = "bartender-token"  # noqa: S105 - the name of a tag
INSTALLATION_TAG = "bartender-installation"

_IN, _OUT, _WORK = "/bartender/in", "/bartender/out", "/bartender/work"
_PIECE = 30_000
"""Characters of a file whose content is in the task: a server has to take 128 KiB."""


def task(
    submission: Submission,
    *,
    image: str,
    resources: Mapping[str, Any],
    limit: int | None,
    variables: Mapping[str, str],
) -> dict[str, Any]:
    """Return the task that runs a job. Raises DestinationRefused for what no task can hold."""
    if submission.addresses is None:
        raise DestinationRefused("The destination's filesystem gives jobs no addresses; tell the operator.")
    pieces = {f"{_IN}/command.{n}": text for n, text in enumerate(_pieces(submission.command, variables))}
    wrapping = Wrapping(
        token=submission.token,
        work=_WORK,
        commands=list(pieces),
        input=f"{_IN}/input.tar",
        output=f"{_OUT}/output.tar",
        limit=limit,
    )
    return {
        "name": references.name(submission.token, submission.installation),
        "description": f"job {submission.job_id} of {submission.application}",
        "tags": {TOKEN_TAG: submission.token, INSTALLATION_TAG: submission.installation},
        "inputs": [
            {"path": f"{_IN}/input.tar", "url": submission.addresses.input, "type": "FILE"},
            *({"path": path, "content": text, "type": "FILE"} for path, text in pieces.items()),
            {"path": f"{_IN}/wrapper", "content": script(wrapping), "type": "FILE"},
        ],
        "outputs": [{"path": f"{_OUT}/output.tar", "url": submission.addresses.output, "type": "FILE"}],
        "resources": dict(resources),
        "executors": [{"image": image, "command": ["/bin/sh", f"{_IN}/wrapper"]}],
        "volumes": [_WORK],
    }


def _pieces(command: str, variables: Mapping[str, str]) -> list[str]:
    try:
        text = payload((), command, variables).decode()
    except UnicodeDecodeError as error:
        raise DestinationRefused(
            "The command has bytes that are no UTF-8, which this destination cannot take; use a file."
        ) from error
    return [text[at : at + _PIECE] for at in range(0, len(text), _PIECE)]
