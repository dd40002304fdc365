"""Mistakes of operators: one line that names the file, the key and the way out; exit status 2."""

import fcntl
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from api.tokens.signing import generate_key_pair
from deployments.settings import Settings

CONFIG = "applications: {wc: {command_template: wc README.md}}\n"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Where everything is right."""
    (tmp_path / "config.yaml").write_text(CONFIG)
    generate_key_pair(tmp_path / "private_key.pem", tmp_path / "public_key.pem")
    return tmp_path


def bartender(directory: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("BARTENDER_", "PREFECT_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        [sys.executable, "-m", "api", *arguments],
        cwd=directory,
        env={**environment, "BARTENDER_PORT": "0", "BARTENDER_PREFECT_PORT": "0", **variables},
        capture_output=True,
        text=True,
        timeout=60,
    )


def assert_refused(completed: subprocess.CompletedProcess[str], *said: str) -> None:
    assert completed.returncode == 2, completed.stderr
    assert completed.stdout == ""
    [line] = completed.stderr.splitlines()
    assert line.startswith("bartender: ")
    for text in said:
        assert text in line


def test_no_configuration_file(directory: Path) -> None:
    (directory / "config.yaml").unlink()
    assert_refused(
        bartender(directory, "serve"), "config.yaml", "config-example.yaml", "BARTENDER_CONFIG_FILENAME"
    )


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ("applications: [", "is not YAML"),
        (CONFIG + "color: red", "color is not a known key"),
        ("applications: {wc: {}}", "applications.wc.command_template is missing"),
        ("applications: {wc: {command_template: 'wc {%'}}", "command_template is not a template"),
        ("applications: {wc: {command_template: wc, input_schema: {type: x}}}", "is not a JSON schema"),
        (
            "applications: {wc: {command_template: 'wc {{ x }}', input_schema: {type: object}}}",
            "applications.wc has 'x' in its command_template, but not in its input_schema",
        ),
        (
            "applications: {wc: {command_template: wc, input_schema: {type: object, $ref: other.json}}}",
            "refers to 'other.json', which is not in it and is never fetched",
        ),
        (CONFIG + "destinations: {a: {scheduler: {type: moon}, filesystem: {type: local}}}", "'moon'"),
        (CONFIG + "destination_picker: no.such:picker", "destination_picker: 'no.such:picker'"),
    ],
)
@pytest.mark.parametrize("command", ["serve", "worker"])
def test_configuration_file(directory: Path, command: str, config: str, said: str) -> None:
    (directory / "config.yaml").write_text(config)
    assert_refused(bartender(directory, command), "config.yaml: ", said)
    assert not (directory / ".bartender").exists()  # nothing was started


@pytest.mark.parametrize("content", [None, "", "not a key", "private_key.pem"])
def test_public_key(directory: Path, content: str | None) -> None:
    (directory / "public_key.pem").unlink()
    if content == "private_key.pem":
        (directory / "public_key.pem").write_text((directory / content).read_text())
    elif content is not None:
        (directory / "public_key.pem").write_text(content)
    assert_refused(bartender(directory, "serve"), "public_key.pem")


@pytest.mark.parametrize(
    ("name", "value"),
    [("BARTENDER_PORT", "many"), ("BARTENDER_DB_DSN", "mysql://db/x"), ("BARTENDER_LOG_LEVEL", "LOUD")],
)
def test_environment(directory: Path, name: str, value: str) -> None:
    completed = bartender(directory, "serve", **{name: value})
    assert_refused(completed, "environment: ")
    assert name.removeprefix("BARTENDER_") in completed.stderr.upper()


@contextmanager
def taken_port() -> Iterator[str]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield str(taken.getsockname()[1])


@pytest.mark.parametrize("variable", ["BARTENDER_PORT", "BARTENDER_PREFECT_PORT"])
def test_port_in_use(directory: Path, variable: str) -> None:
    with taken_port() as port:
        assert_refused(bartender(directory, "serve", **{variable: port}), port, variable)


def test_database_that_cannot_be_reached(directory: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        dsn = f"postgresql://me:secret-password@127.0.0.1:{closed.getsockname()[1]}/x"
        completed = bartender(directory, "serve", BARTENDER_DB_DSN=dsn)
    assert_refused(completed, "database")
    assert "secret-password" not in completed.stderr


def test_a_worker_that_finds_no_server(directory: Path) -> None:
    assert_refused(bartender(directory, "worker"), "PREFECT_API_URL", "bartender serve")


def test_two_servers_on_one_data_directory(directory: Path) -> None:
    (directory / ".bartender").mkdir()
    with (directory / ".bartender/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write(str(os.getpid()))
        lock.flush()
        assert_refused(bartender(directory, "serve"), str(os.getpid()), "BARTENDER_DATA_DIR")


def test_the_key_of_pilots_is_that_of_a_destination_that_has_some(directory: Path) -> None:
    far = "destinations: {far: {scheduler: {type: memory}, filesystem: {type: http}}}"
    assert_refused(bartender(directory, "pilot-key", "local"), "'local'", "filesystem http")
    (directory / "config.yaml").write_text(CONFIG + far)
    assert_refused(bartender(directory, "pilot-key", "near"), "'near'", "use one of far")
    keys = [bartender(directory, "pilot-key", "far").stdout for _ in range(2)]
    assert keys[0] == keys[1]
    assert len(keys[0].strip()) > 43
    assert keys[0].count("\n") == 1


def test_version_needs_nothing(tmp_path: Path) -> None:
    completed = bartender(tmp_path, "--version")
    assert completed.returncode == 0
    assert completed.stdout.strip()


def test_settings_are_read_from_the_file_env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("BARTENDER_PORT=1234\n")
    monkeypatch.chdir(tmp_path)
    assert Settings.load().port == 1234
