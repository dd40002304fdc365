"""How reports and answers travel between a worker and the route: JSON, read into the words of ``reports``."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from deployments.recording.reports import MOST_RUNS, Answer, RunReport

PATH = "/bartender/runs"
"""Of the route, below Prefect's API. A GET of it says whether reports can be written."""

MOST_BYTES = 8 * 2**20
"""That a request may have. A run takes 5 kB, and what its states say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one request tells. ``flow``, ``deployment`` and ``results``, a block, are names in Prefect."""

    flow: str
    deployment: str
    results: str
    sent_on: datetime
    """By the clock that the timestamps are of."""
    runs: tuple[RunReport, ...]


_batch = TypeAdapter(Batch)
_answers = TypeAdapter(list[Answer])


def encode(batch: Batch) -> bytes:
    """Return the body of a request; raise ValueError for text that is none, such as half a character."""
    try:
        return _batch.dump_json(batch)
    except PydanticSerializationError as error:
        raise ValueError(str(error)) from error


def decode(body: bytes) -> Batch:
    """Return what a request tells; raise ValueError for anything else."""
    batch = _batch.validate_json(body)
    if len(batch.runs) > MOST_RUNS:
        raise ValueError(f"more than {MOST_RUNS} runs")
    if len({run.flow_run_id for run in batch.runs}) < len(batch.runs):
        raise ValueError("a run twice")
    if not all(run.states and all(task.states for task in run.tasks) for run in batch.runs):
        raise ValueError("a run without a state")
    return batch


def encode_answers(answers: Sequence[Answer]) -> bytes:
    """Return the body of an answer."""
    return _answers.dump_json(list(answers))


def decode_answers(body: bytes, runs: Sequence[RunReport]) -> list[Answer]:
    """Return what became of each of ``runs``; raise ValueError for what is no answer about them."""
    answers = _answers.validate_json(body)
    if len(answers) != len(runs):
        raise ValueError(f"{len(answers)} answers about {len(runs)} runs")
    return answers
