"""The embedded Prefect server: when it may be stopped, and how."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from deployments.serving.listening import listen
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect


@pytest.fixture
def prefect(tmp_path: Path, postgres: EmbeddedPostgres) -> Iterator[EmbeddedPrefect]:
    with ExitStack() as stack:
        listener = stack.enter_context(listen("127.0.0.1", 0, "a port"))
        yield EmbeddedPrefect(tmp_path / "prefect", postgres, listener, log=tmp_path / "log")


async def test_tables_are_made_or_changed_until_this_version_has_answered(
    prefect: EmbeddedPrefect, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await prefect.make_database()
    assert await prefect.make_database()  # nobody says that it was ever ready

    async def at_once(*_: object, **__: object) -> None:
        """It answers."""

    monkeypatch.setattr(prefect.child, "wait_until", at_once)
    await prefect.wait_until_ready()
    assert not await prefect.make_database()
    (tmp_path / "prefect/version").write_text("3.8.7")
    assert await prefect.make_database()


async def test_one_that_starts_is_stopped_without_waiting_for_it(
    prefect: EmbeddedPrefect, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        await prefect.child.start()
        pid = prefect.child.pid
        await prefect.stop()
    assert pid is not None
    assert prefect.child.pid is None
    assert not Path(f"/proc/{pid}").exists()
    assert not caplog.records  # as of one that did not end when it was asked to
