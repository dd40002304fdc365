from pathlib import Path
from typing import Any

import pytest

from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import DestinationFailed
from flows.pilots import scheduling, words
from flows.pilots.rest import Login
from flows.pilots.words import Claim
from flows.schedulers.pilot import Scheduler
from flows.ssh.connections import Connections
from tests.deployments.pilot.playing import PlayedPrefect
from tests.flows.pilots.test_words import ORDER
from tests.flows.submitting import statuses


class VanishingRun(PlayedPrefect):
    """A run is deleted just when somebody looks at its states, or sets one."""

    def __init__(self, looked_at: str) -> None:
        super().__init__()
        self._looked_at = looked_at

    async def ask(self, method: str, path: str, json: Any = None) -> Any:
        if self._looked_at in path:
            self.states_of.clear()
        return await super().ask(method, path, json)


@pytest.mark.parametrize("looked_at", ["flow_run_states", "set_state"])
async def test_a_lost_run_that_is_deleted_just_then_ends_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looked_at: str
) -> None:
    prefect = VanishingRun(looked_at)
    run = prefect.add(ORDER)
    prefect.set(run, words.taken(Claim("gone", "c")))
    monkeypatch.setattr(scheduling, "PrefectRest", lambda _login: prefect)
    monkeypatch.setattr(Login, "of_settings", lambda: prefect.login)
    monkeypatch.setattr(scheduling, "PILOTS_INTERVAL", 0.0)
    config = Scheduler.Config(poll_interval=0.01, max_poll_interval=0.02)
    config = config.model_copy(update={"lost_after": scheduling.HEARD_WITHIN})
    place = Place(tmp_path / "data", tmp_path / "jobs")
    scheduler = Scheduler(config, Surroundings(place, "there", Connections()))
    *_, end = await statuses(scheduler, f"t.{run}")
    assert isinstance(end.failure, DestinationFailed)
    assert "deleted in Prefect" in str(end.failure)
    await scheduler.close()
