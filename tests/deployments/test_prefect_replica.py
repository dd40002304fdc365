"""What keeps a Prefect server of an operator's own database from starting is said in one line."""

import importlib.util

import pytest

from deployments.serving import prefect_replica
from deployments.serving.prefect_replica import DATABASE, run
from flows.errors import ConfigurationError
from tests.e2e.service import free_port

LOGIN = "PREFECT_SERVER_API_AUTH_STRING"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(LOGIN, "operator:secret")
    monkeypatch.setenv(DATABASE, f"postgresql+asyncpg://prefect:hidden@127.0.0.1:{free_port()}/prefect")


def complaint(redis_url: str | None = None) -> str:
    with pytest.raises(ConfigurationError) as raised:
        run("127.0.0.1", free_port(), redis_url, "INFO")
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_a_server_without_a_login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(LOGIN)
    assert "PREFECT_SERVER_API_AUTH_STRING is not set; set it to USER:PASSWORD" in complaint()


@pytest.mark.parametrize("url", ["", "nonsense", "sqlite+aiosqlite:///here", "postgresql://host/prefect"])
def test_a_database_that_is_none(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv(DATABASE, url)
    assert f"{DATABASE} names no PostgreSQL; set it to postgresql+asyncpg://" in complaint()


def test_a_database_that_is_away() -> None:
    said = complaint()
    assert f"the database of {DATABASE} cannot be used" in said
    assert "hidden" not in said


def test_redis_without_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install 'bartender[redis]'" in complaint("redis://127.0.0.1")


def test_redis_that_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: prefect_replica.__spec__)
    said = complaint("http://user:hidden@127.0.0.1")
    assert "BARTENDER_REDIS_URL is no address" in said
    assert "hidden" not in said
