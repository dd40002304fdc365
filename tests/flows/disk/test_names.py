"""Each name is found again by its own pattern, and by no other one of the same directory."""

import itertools
import re
import uuid
from pathlib import Path

import pytest

from flows.disk import names
from flows.disk.places import Place

TOKEN = "0f3c2a51-6b7d-4e8f-9a0b-1c2d3e4f5a6b"  # the same in each process that collects these tests
DRAFT = names.draft(TOKEN)

AMONG_JOBS = [names.OF_JOB, names.HIDDEN, names.ASIDE]

MADE = [
    (names.upload(TOKEN), names.UPLOAD, TOKEN, [names.UPLOAD]),
    (names.results(uuid.UUID(TOKEN)), names.RESULTS, TOKEN, [names.RESULTS]),
    (names.of_job(17), names.OF_JOB, "17", AMONG_JOBS),
    (names.hidden(17, TOKEN), names.HIDDEN, TOKEN, AMONG_JOBS),
    (names.fetched(TOKEN), names.HIDDEN, TOKEN, AMONG_JOBS),
    (names.guard(TOKEN), names.HIDDEN, TOKEN, AMONG_JOBS),
    (names.transfer(TOKEN), names.HIDDEN, TOKEN, AMONG_JOBS),
    (names.withdrawn(TOKEN), names.HIDDEN, TOKEN, AMONG_JOBS),
    (names.aside(17), names.ASIDE, "17", AMONG_JOBS),
    (TOKEN, names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
    (names.inputs(TOKEN), names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
    (names.guard(TOKEN), names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
    (DRAFT, names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
    (names.inputs_of_draft(DRAFT), names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
    (f"{names.taken(DRAFT)}12", names.AT_DESTINATION, TOKEN, [names.AT_DESTINATION]),
]


@pytest.mark.parametrize(("name", "own", "key", "there"), MADE, ids=itertools.count())
def test_what_is_made_is_found(
    name: str, own: re.Pattern[str], key: str, there: list[re.Pattern[str]]
) -> None:
    assert {pattern: names.key(pattern, name) for pattern in there} == {
        pattern: key if pattern is own else None for pattern in there
    }


@pytest.mark.parametrize("name", ["notes", ".bashrc", f"{TOKEN}.tar", f".{TOKEN}", f".{TOKEN}.draft.zz"])
def test_what_is_not_ours_is_no_name(name: str) -> None:
    patterns = [names.UPLOAD, names.RESULTS, *AMONG_JOBS, names.AT_DESTINATION]
    assert not any(names.key(pattern, name) for pattern in patterns)


def test_names_of_earlier_versions() -> None:
    assert names.key(names.ASIDE, ".17") == "17"
    assert names.key(names.RESULTS, uuid.UUID(TOKEN).hex) == uuid.UUID(TOKEN).hex


def test_all_drafts_of_a_job_begin_alike() -> None:
    assert DRAFT.startswith(names.drafts(TOKEN))
    assert names.draft(TOKEN) != DRAFT


def test_places_have_these_names(tmp_path: Path) -> None:
    place = Place(tmp_path / "data", tmp_path / "jobs")
    assert place.upload(TOKEN).name == names.upload(TOKEN)
    assert place.job_dir(17).name == names.of_job(17)
    assert place.hidden_dir(17, TOKEN).name == names.hidden(17, TOKEN)
    assert names.key(names.ASIDE, place.aside(17).name) == "17"
