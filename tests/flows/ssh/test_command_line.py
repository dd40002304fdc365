"""Scripts as command lines, in the shells that accounts have."""

import os
import subprocess
from pathlib import Path

import pytest

from flows.ssh.command_line import command_line
from tests.services.logins import SHELLS

ODD = 'It\'s "here": `a` $b \\n !c !! {d,e} [f]* %g ~ #h ü\n\n  ^i^j^\t\\.'


@pytest.fixture(params=SHELLS)
def shell(request: pytest.FixtureRequest, shells: None) -> str:
    return SHELLS[request.param]


def run(shell: str, script: str, input: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """As sshd does."""
    return subprocess.run([shell, "-c", command_line(script)], input=input, capture_output=True, check=False)


def test_a_script_arrives_as_it_is(shell: str) -> None:
    done = run(shell, f"cat <<'END'\n{ODD}\nEND\ncat\necho problem >&2\nexit 7", b"input")
    assert done.stdout.decode() == f"{ODD}\ninput"
    assert (done.returncode, done.stderr) == (7, b"problem\n")


def test_lines_depend_on_those_before(shell: str, tmp_path: Path) -> None:
    """As they do in scripts that remove files: no shell runs each line by itself."""
    done = run(shell, f"cd -- {tmp_path}/nowhere 2>/dev/null || exit 0\necho removed\n")
    assert (done.returncode, done.stdout) == (0, b"")


def test_names_that_are_no_text(shell: str, tmp_path: Path) -> None:
    name = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")
    assert run(shell, f": >'{name}'").stderr == b""
    assert Path(name).exists()


@pytest.mark.parametrize("text", ["1234567890," * 10_000, "\\'!\n" * 4_000])
def test_long_ones(shell: str, text: str) -> None:
    done = run(shell, f"cat <<'END'\n{text}\nEND\n")
    assert (done.stderr, done.stdout.decode()) == (b"", f"{text}\n")


@pytest.mark.parametrize("length", range(1990, 2010))
def test_no_character_is_cut_in_two(length: int) -> None:
    text = "x" * (length - 1900) + "é'" * 100
    assert run("/bin/sh", f'printf %s "{text}"').stdout.decode() == text
