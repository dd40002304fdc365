"""Lines for the other machine's shell that arrive late: their sender gave them up, and another went on."""

import io
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from flows.staging.by_shell import _PUBLISH, _PUT, _filled
from flows.staging.names import Names
from flows.staging.scripts import PRELUDE
from tests.flows.staging.sftp.remote import TOKEN


def run(script: str, names: Names, *, input: bytes = b"", path: str = os.defpath) -> int:
    environment = {"PATH": path}
    command = ["/bin/sh", "-c", PRELUDE + _filled(script, names)]
    done = subprocess.run(command, input=input, env=environment, capture_output=True, check=False)
    return done.returncode


@pytest.fixture
def tar() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for name in "abc":
            archive.addfile(tarfile.TarInfo(f"./{name}"), io.BytesIO())
    return content.getvalue()


def test_a_draft_of_before_is_not_published_while_it_is_removed(tmp_path: Path, tar: bytes) -> None:
    late, now = Names(tmp_path / "entry", TOKEN), Names(tmp_path / "entry", TOKEN)
    assert run(_PUT, late, input=tar) == 0
    # What is removed has lost a file when the line comes that was sent to publish it.
    (tmp_path / "bin").mkdir()
    line = tmp_path / "line"
    line.write_text(PRELUDE + _filled(_PUBLISH, late))
    slow = f'for a in "$@"; do /bin/rm -f "$a/a"; done; /bin/sh {line}; exec /bin/rm "$@"'
    (tmp_path / "bin/rm").write_text(f"#!/bin/sh\n{slow}\n")
    (tmp_path / "bin/rm").chmod(0o755)
    assert run(_PUT, now, input=tar, path=f"{tmp_path / 'bin'}:{os.defpath}") == 0
    assert run(_PUBLISH, now) == 0
    assert {path.name for path in (tmp_path / "entry" / TOKEN).iterdir()} == {"a", "b", "c"}


def test_a_late_attempt_takes_nothing_from_what_was_published(tmp_path: Path, tar: bytes) -> None:
    late, now = Names(tmp_path / "entry", TOKEN), Names(tmp_path / "entry", TOKEN)
    assert run(_PUT, now, input=tar) == 0
    assert run(_PUBLISH, now) == 0
    inputs = (tmp_path / "entry" / now.inputs).read_bytes()
    assert run(_PUT, late, input=tar) == 0
    assert run(_PUBLISH, late) == 0
    assert (tmp_path / "entry" / now.inputs).read_bytes() == inputs
    assert {path.name for path in (tmp_path / "entry").iterdir()} == {TOKEN, now.inputs}


def test_a_late_attempt_makes_the_one_under_way_begin_again(tmp_path: Path, tar: bytes) -> None:
    late, now = Names(tmp_path / "entry", TOKEN), Names(tmp_path / "entry", TOKEN)
    assert run(_PUT, now, input=tar) == 0
    assert run(_PUT, late, input=tar) == 0
    assert run(_PUBLISH, now) != 0
    assert not (tmp_path / "entry" / TOKEN).exists()
