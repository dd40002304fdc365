"""What operators have set, known before Prefect answers."""

from pathlib import Path

import pytest

from deployments.worker.heeded import Heeded, Said
from deployments.worker.limits import JobLimits


def test_what_prefect_said_last_is_known_at_the_next_start(tmp_path: Path) -> None:
    heeded = Heeded(tmp_path / "heeded")
    assert (heeded.limits, heeded.begins_first, heeded.lets_some_begin) == (None, False, False)
    heeded.keep()
    assert list(tmp_path.iterdir()) == []
    heeded.said = Said(JobLimits(is_paused=True, at_most=None), begins_first=True)
    heeded.keep()
    again = Heeded(tmp_path / "heeded")
    assert again.limits == JobLimits(is_paused=True, at_most=None)
    assert (again.begins_first, again.lets_some_begin, again.holds_back) == (True, False, True)
    again.said = Said(JobLimits(is_paused=False, at_most=3), begins_first=False)
    again.keep()
    last = Heeded(tmp_path / "heeded")
    assert last.said == again.said
    assert (last.lets_some_begin, last.holds_back) == (True, True)


@pytest.mark.parametrize(
    "content", ["", "[]", '{"limits": {}}', '{"limits": {"more": 1}, "begins_first": true}']
)
def test_prefect_is_waited_for_where_the_file_is_of_no_use(tmp_path: Path, content: str) -> None:
    (tmp_path / "heeded").write_text(content)
    assert Heeded(tmp_path / "heeded").said is None
