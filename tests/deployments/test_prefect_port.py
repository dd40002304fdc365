"""Several servers on one machine: the port of an embedded Prefect server."""

import socket
import subprocess
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from deployments.serving import parts, supervisor
from deployments.serving.listening import listen
from deployments.settings import Settings
from flows.errors import ConfigurationError


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> int:
    """The port that is taken where it is free."""
    with listen("127.0.0.1", 0, "") as listener:
        port: int = listener.getsockname()[1]
    monkeypatch.setattr(parts, "PREFECT_PORT", port)
    monkeypatch.delenv("BARTENDER_PREFECT_PORT", raising=False)
    return port


@pytest.fixture
def taken(usual: int) -> Iterator[int]:
    with listen("127.0.0.1", usual, ""):
        yield usual


def port_of(data_dir: Path) -> int:
    """Start, tell where, and stop."""
    with started(data_dir) as listener:
        port: int = listener.getsockname()[1]
        return port


def started(data_dir: Path) -> socket.socket:
    data_dir.mkdir(exist_ok=True)
    return parts.listen_for_prefect(Settings(), data_dir)


def test_the_usual_one(usual: int, tmp_path: Path) -> None:
    assert port_of(tmp_path) == usual
    assert port_of(tmp_path) == usual


def test_another_is_kept(taken: int, tmp_path: Path) -> None:
    port = port_of(tmp_path)
    assert port != taken
    assert port_of(tmp_path) == port


def test_two_servers(usual: int, tmp_path: Path) -> None:
    with started(tmp_path / "one") as one, started(tmp_path / "two") as two:
        ports = [one.getsockname()[1], two.getsockname()[1]]
    assert ports[0] == usual != ports[1]
    # In the other order too.
    with started(tmp_path / "two") as two, started(tmp_path / "one") as one:
        assert [one.getsockname()[1], two.getsockname()[1]] == ports


def test_somebody_else_has_taken_it_meanwhile(taken: int, tmp_path: Path) -> None:
    port = port_of(tmp_path)
    with listen("127.0.0.1", port, ""):
        other = port_of(tmp_path)
        assert other not in {taken, port}
    assert port_of(tmp_path) == other


@pytest.mark.parametrize("content", ["", "4200a", "-1", "99999", "\u0664"])
def test_what_was_kept_cannot_be_read(usual: int, tmp_path: Path, content: str) -> None:
    (tmp_path / "prefect_port").write_text(content)
    assert port_of(tmp_path) == usual


def test_a_configured_one_is_the_operators(
    taken: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTENDER_PREFECT_PORT", str(taken))
    with pytest.raises(ConfigurationError, match="BARTENDER_PREFECT_PORT"):
        started(tmp_path)
    monkeypatch.setenv("BARTENDER_PREFECT_PORT", "0")
    assert port_of(tmp_path) != taken
    assert not (tmp_path / "prefect_port").exists()


def test_commands_of_a_shell_find_it_without_its_proxy(tmp_path: Path) -> None:
    supervisor._publish(AsyncExitStack(), tmp_path, {"PREFECT_API_URL": "http://127.0.0.1:1/api", "A": "b c"})
    cases: list[tuple[dict[str, str], str]] = [
        ({}, ""),
        ({"NO_PROXY": "example.com"}, ",example.com"),
        ({"no_proxy": "example.org", "NO_PROXY": "example.com"}, ",example.org"),
    ]
    for before, after in cases:
        done = subprocess.run(
            ["sh", "-euc", '. ./environment; echo "$no_proxy $A"'],
            env=before,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout == f"localhost,127.0.0.1,::1{after} b c\n"
