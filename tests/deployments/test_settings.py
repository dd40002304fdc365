"""What an operator may write for a setting."""

import logging

import pytest

from deployments.settings import Settings
from flows.errors import ConfigurationError


@pytest.mark.parametrize(
    ("written", "meant"),
    [("debug", "DEBUG"), ("Info", "INFO"), ("warn", "WARNING"), ("WARN", "WARNING"), ("fatal", "CRITICAL")],
)
def test_levels_of_the_log(monkeypatch: pytest.MonkeyPatch, written: str, meant: str) -> None:
    monkeypatch.setenv("BARTENDER_LOG_LEVEL", written)
    assert Settings.load().log_level == meant
    assert isinstance(logging.getLevelName(meant), int)


@pytest.mark.parametrize("written", ["loud", "", "10"])
def test_what_is_no_level(monkeypatch: pytest.MonkeyPatch, written: str) -> None:
    monkeypatch.setenv("BARTENDER_LOG_LEVEL", written)
    with pytest.raises(ConfigurationError, match="log_level"):
        Settings.load()
