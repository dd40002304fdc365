import logging
from pathlib import Path
from typing import Any

import pytest

from flows.destinations.surroundings import Surroundings
from flows.destinations.types import SCHEDULERS
from flows.disk.places import Place
from flows.ssh.connections import Connections


def configured(**keys: Any) -> Any:
    return SCHEDULERS.configured(keys, Path()).config


def test_a_time_limit_may_be_written_in_two_ways() -> None:
    assert configured(type="pilot", job_timeout=90).job_timeout == 90
    assert configured(type="pilot", job_timeout="PT1H30M").job_timeout == 5400
    assert configured(type="arq", job_timeout="PT1M").job_timeout == 60
    for wrong in ("an hour", "-PT1H", 0):
        with pytest.raises(ValueError, match="job_timeout"):
            configured(type="pilot", job_timeout=wrong)


def test_the_former_type_is_understood(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    keys = {"redis_dsn": "redis://localhost:6379", "queue": "arq:queue", "max_jobs": 5}
    found = SCHEDULERS.configured({"type": "arq", **keys}, Path())
    assert (found.config.pool("there"), found.config.max_jobs) == ("arq-queue", 5)  # type: ignore[attr-defined]
    with caplog.at_level(logging.INFO):
        found.make(Surroundings(place, "there", Connections()))
    [said] = caplog.messages
    assert "destinations.there: redis_dsn is not needed any more" in said
    assert "localhost" not in said


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, tmp_path)


def test_the_pool_is_called_as_the_destination() -> None:
    assert configured(type="pilot").pool("there") == "there"
    assert configured(type="pilot", work_pool="lab").pool("there") == "lab"
    with pytest.raises(ValueError, match="work_pool"):
        configured(type="pilot", work_pool="a/b")
