from pathlib import Path

import pytest

from flows.disk import attempts


def test_a_new_attempt_takes_away_what_earlier_ones_have_made(tmp_path: Path) -> None:
    first = attempts.begin(tmp_path / "drafts")
    first.mkdir()
    (first / "file").touch()
    second = attempts.begin(tmp_path / "drafts")
    second.mkdir()
    with pytest.raises(FileNotFoundError):  # the first goes on, as after a freeze
        (first / "other").touch()
    with pytest.raises(FileNotFoundError):
        first.rename(tmp_path / "directory")
    second.rename(tmp_path / "directory")
    assert list((tmp_path / "drafts").iterdir()) == []


def test_a_new_attempt_goes_on_with_what_an_earlier_one_has_made(tmp_path: Path) -> None:
    first = attempts.go_on(tmp_path / "drafts")
    (first / "file").write_text("arrived")
    second = attempts.go_on(tmp_path / "drafts")
    assert (second / "file").read_text() == "arrived"
    assert not first.exists()
    assert list((tmp_path / "drafts").iterdir()) == [second]


def test_what_an_earlier_version_left_is_no_attempt(tmp_path: Path) -> None:
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts/file").touch()
    mine = attempts.go_on(tmp_path / "drafts")
    assert list((tmp_path / "drafts").iterdir()) == [mine]
