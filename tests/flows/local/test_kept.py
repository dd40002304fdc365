"""What is written down of a command can be read by the versions that come after."""

import json
from pathlib import Path

import pytest

from flows.destinations.scheduler import Submission
from flows.local.commands import LocalCommands
from flows.local.kept import from_json, to_json

SUBMISSION = Submission(
    token="0b5c6f0e-37a5-4d1c-8c0e-5b1f2f0f9a11",
    job_id=7,
    application="wc",
    submitter="me",
    command="wc 'Größe'",
    directory=Path("/data/jobs/7"),
    installation="here",
)
BEFORE_VERSIONS = (
    rb'{"token": "0b5c6f0e-37a5-4d1c-8c0e-5b1f2f0f9a11", "job_id": 7, '
    rb'"application": "wc", "submitter": "me", '
    rb'"command": "wc '
    rb"'Gr\u00f6\u00dfe'"
    rb'", "directory": "/data/jobs/7", "installation": "here"}'
)
FIRST_VERSION = b'{"version": 1, ' + BEFORE_VERSIONS[1:]


def test_what_is_written() -> None:
    """A change here is another version."""
    assert to_json(SUBMISSION).encode() == FIRST_VERSION


@pytest.mark.parametrize("content", [BEFORE_VERSIONS, FIRST_VERSION])
def test_what_is_read(content: bytes) -> None:
    assert from_json(content) == SUBMISSION


def test_a_later_version_is_not_guessed_at() -> None:
    later = FIRST_VERSION.replace(b'"version": 1', b'"version": 2')
    with pytest.raises(ValueError, match="of version 2"):
        from_json(later)


@pytest.mark.parametrize("content", [b"", b"\0", b"[]", b"1", b"{}", b'{"version": "x"}', b"\xff"])
def test_what_is_no_submission(content: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - of whatever kind
        from_json(content)


def test_a_command_that_an_earlier_version_wrote_down_can_run(tmp_path: Path) -> None:
    directory = tmp_path / "worker/here" / SUBMISSION.token
    directory.mkdir(parents=True)
    (directory / "submission.json").write_bytes(BEFORE_VERSIONS)
    commands = LocalCommands(directory.parent)
    [(submission, kept)] = commands.submitted()
    assert submission == SUBMISSION
    assert kept.can_run
    assert not kept.has_started
    assert commands.add(SUBMISSION).submission == SUBMISSION
    assert "version" not in json.loads((directory / "submission.json").read_bytes())  # left as it is
