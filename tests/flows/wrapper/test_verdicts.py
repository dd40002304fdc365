from pathlib import Path

import pytest

from flows.errors import DestinationFailed
from flows.wrapper.verdicts import returncode


@pytest.mark.parametrize("content", [None, "", "x", "-"])
def test_without_a_return_code_the_job_was_broken_off(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "returncode").write_text(content)
    assert isinstance(returncode(tmp_path), DestinationFailed)


def test_a_return_code_of_124_is_no_time_limit_by_itself(tmp_path: Path) -> None:
    (tmp_path / "returncode").write_text("124")
    assert returncode(tmp_path) == 124
    (tmp_path / "stderr.txt").write_text("what is said last\n")
    assert returncode(tmp_path) == 124
