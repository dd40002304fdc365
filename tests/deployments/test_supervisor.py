"""What commands beside a server know of it."""

import asyncio
from pathlib import Path

import pytest

from deployments.serving import supervisor
from deployments.serving.supervisor import environment_of_running
from flows.disk import locks, private_files
from flows.errors import ConfigurationError


async def test_a_server_that_starts_is_waited_for(tmp_path: Path) -> None:
    with locks.exclusive(tmp_path / "lock", "stop it"):
        asking = asyncio.create_task(asyncio.to_thread(environment_of_running, tmp_path))
        done, _ = await asyncio.wait([asking], timeout=0.3)
        assert not done
        private_files.write(tmp_path / "environment", "export BARTENDER_DB_DSN='postgresql://x'\n")
        assert await asking == {"BARTENDER_DB_DSN": "postgresql://x"}


async def test_a_server_that_ends_instead_is_not_waited_for(tmp_path: Path) -> None:
    assert environment_of_running(tmp_path) is None
    with locks.exclusive(tmp_path / "lock", "stop it"):
        asking = asyncio.create_task(asyncio.to_thread(environment_of_running, tmp_path))
        await asyncio.wait([asking], timeout=0.3)
    assert await asking is None


def test_a_server_that_does_not_get_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "_PUBLISH_SECONDS", 0)
    with (
        locks.exclusive(tmp_path / "lock", "stop it"),
        pytest.raises(ConfigurationError, match="is not ready yet; run this again when"),
    ):
        environment_of_running(tmp_path)
