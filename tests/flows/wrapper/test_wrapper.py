"""The wrapper in the shells that containers have."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from flows.errors import DestinationFailed, JobFailure, TimeLimitExceeded
from flows.wrapper.script import BROKEN
from flows.wrapper.verdicts import returncode
from tests.flows.submitting import has_ended
from tests.flows.wrapper.wrapped import Wrapped
from tests.services.processes import PROC, pids, wait_until

BUSYBOX = "cat chmod cp find grep kill ln mkdir mkfifo mv printf rm setsid sh sleep tar"
"""Of a small image: neither bash nor curl, wget or python3."""

SHELLS = {
    "dash": (("dash",), None),
    "bash": (("bash", "--posix"), None),
    "busybox": (("busybox", "sh"), BUSYBOX.split()),
}


@pytest.fixture(params=SHELLS)
def wrapped(request: pytest.FixtureRequest, tmp_path: Path) -> Wrapped:
    shell, programs = SHELLS[request.param]
    if shutil.which(shell[0]) is None:
        pytest.skip(f"there is no {shell[0]}")
    return Wrapped(tmp_path, [str(shutil.which(shell[0])), *shell[1:]], programs)


@pytest.fixture
def simple(tmp_path: Path) -> Wrapped:
    return Wrapped(tmp_path)


def code(wrapped: Wrapped) -> int | JobFailure:
    wrapped.bring_back()
    return returncode(wrapped.job_dir)


def test_a_command_runs_among_the_jobs_files(wrapped: Wrapped) -> None:
    (wrapped.job_dir / "data").mkdir()
    (wrapped.job_dir / "data/ü b").write_text("hello\n")
    assert wrapped.run("cat 'data/ü b'; echo problem >&2; mkdir -p a/b; echo 42 >a/b/result; exit 7") == (
        0,
        "",
    )
    assert code(wrapped) == 7
    assert (wrapped.job_dir / "stdout.txt").read_text() == "hello\n"
    assert (wrapped.job_dir / "stderr.txt").read_text() == "problem\n"
    assert (wrapped.job_dir / "a/b/result").read_text() == "42\n"
    assert [path.name for path in (wrapped.over_there / "work").iterdir()] == [wrapped.token]
    assert [path.name for path in (wrapped.over_there / "work" / wrapped.token).iterdir()] == ["ended"]


@pytest.mark.parametrize(
    ("command", "expected"),
    [("if", 2), ("kill -9 $$", 137), ("no-such-command", 127), ("rm ../inputs; exit 3", 3)],
)
def test_whatever_the_command_does_there_is_a_return_code(
    wrapped: Wrapped, command: str, expected: int
) -> None:
    status, _ = wrapped.run(command)
    assert (status, code(wrapped)) == (0, expected)


def test_a_second_start_of_a_token_does_nothing(wrapped: Wrapped) -> None:
    ledger = wrapped.directory / "ledger"
    assert wrapped.run(f"echo ran >>'{ledger}'")[0] == 0
    before = wrapped.output.read_bytes()
    status, said = wrapped.run(f"echo ran >>'{ledger}'")
    assert (status, said) == (0, "bartender: the job was started before\n")
    assert ledger.read_text() == "ran\n"
    assert wrapped.output.read_bytes() == before


def test_only_what_the_job_has_touched_comes_back(wrapped: Wrapped) -> None:
    names = ["kept", "ü kept'\"$(x)*", "changed", "same size", "moved", "target", "-rf", "deleted"]
    for name in names:
        (wrapped.job_dir / name).write_text(f"input {name}")
        os.utime(wrapped.job_dir / name, (1_700_000_000, 1_700_000_000))
    wrapped.run(
        "echo more >>changed; printf 'INPUT same size' >'same size'; mv moved target; rm deleted;"
        " cp -p kept copy"
    )
    with_output = subprocess.run(["tar", "-tf", wrapped.output], capture_output=True, text=True, check=True)
    listed = {line.removeprefix("./") for line in with_output.stdout.splitlines()}
    assert listed == {"", "changed", "same size", "target", "copy", "stdout.txt", "stderr.txt", "returncode"}
    assert code(wrapped) == 0
    assert (wrapped.job_dir / "kept").read_text() == "input kept"
    assert (wrapped.job_dir / "target").read_text() == "input moved"
    assert (wrapped.job_dir / "same size").read_text() == "INPUT same size"


def test_odd_files_come_back_and_what_is_no_file_does_not(wrapped: Wrapped) -> None:
    wrapped.run(
        "mkdir denied empty; echo x >denied/file; chmod 0 denied/file denied; mkfifo pipe;"
        " ln -s denied/file link; ln -s /etc/passwd out; echo twice >one; ln one two;"
        " echo y >'new\nline'; echo '#!/bin/sh' >run;"
        " chmod 755 run; echo z >-n"
    )
    assert code(wrapped) == 0
    job_dir = wrapped.job_dir
    assert (job_dir / "denied/file").read_text() == "x\n"
    assert (job_dir / "empty").is_dir()
    assert (job_dir / "link").readlink() == Path("denied/file")
    assert not (job_dir / "pipe").exists()
    assert not (job_dir / "out").is_symlink()
    assert (job_dir / "one").read_text() == (job_dir / "two").read_text() == "twice\n"
    assert (job_dir / "new\nline").read_text() == "y\n"
    assert os.access(job_dir / "run", os.X_OK)
    assert (job_dir / "-n").read_text() == "z\n"


def test_files_of_the_names_of_outputs_are_no_way_in(wrapped: Wrapped) -> None:
    elsewhere = wrapped.directory / "elsewhere"
    elsewhere.write_text("as it was")
    wrapped.run(f"ln -s '{elsewhere}' returncode; rm stdout.txt; mkdir stdout.txt; exit 3")
    assert code(wrapped) == 3
    assert elsewhere.read_text() == "as it was"


def test_the_time_limit_ends_the_command_and_its_children(wrapped: Wrapped) -> None:
    status, _ = wrapped.run("sleep 1000 & echo $! >child; echo begun; wait", limit=1)
    assert status == 0
    end = code(wrapped)
    assert isinstance(end, TimeLimitExceeded)
    assert str(end) == "The command took longer than the 1 s that it may."
    assert (wrapped.job_dir / "stdout.txt").read_text() == "begun\n"
    assert has_ended(int((wrapped.job_dir / "child").read_text()))


def test_a_command_that_is_in_time_leaves_no_timer(wrapped: Wrapped) -> None:
    assert wrapped.run("exit 124", limit=4321) == (0, "")
    assert code(wrapped) == 124
    wait_until(lambda: not of_the_wrapper(wrapped), "the timer ends")


def of_the_wrapper(wrapped: Wrapped) -> list[int]:
    where = str(wrapped.over_there / "wrapper").encode()
    found = []
    for pid in pids():
        with suppress(OSError):  # gone meanwhile
            if where in (PROC / str(pid) / "cmdline").read_bytes():
                found.append(pid)
    return found


def test_what_is_told_to_end_ends_the_command_and_has_no_return_code(wrapped: Wrapped) -> None:
    process = wrapped.start(f"echo $$ >'{wrapped.directory}/pid'; sleep 1000")
    pid = wrapped.directory / "pid"
    wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"), "the command begins")
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == BROKEN
    assert errors.decode() == "bartender: the job was told to end\n"
    assert has_ended(int(pid.read_text()))
    assert not wrapped.output.exists()
    assert isinstance(returncode(wrapped.job_dir), DestinationFailed)


def test_nothing_of_the_commands_group_runs_on(wrapped: Wrapped) -> None:
    wrapped.run(f"sleep 1000 & echo $! >'{wrapped.directory}/child'")
    assert code(wrapped) == 0
    child = int((wrapped.directory / "child").read_text())
    wait_until(lambda: has_ended(child), "the child is gone")


def test_a_job_that_is_damaged_is_broken(simple: Wrapped) -> None:
    (simple.over_there / "half.tar").write_bytes(b"x" * 1000)
    status, said = simple.run("echo ran", input=str(simple.over_there / "half.tar"))
    assert status == BROKEN
    assert said.splitlines()[-1] == "bartender: the job could not be unpacked"
    assert not simple.output.exists()


def test_an_image_without_tar_says_so(tmp_path: Path) -> None:
    programs = [program for program in BUSYBOX.split() if program != "tar"]
    wrapped = Wrapped(tmp_path, ["/bin/dash"], programs)
    assert wrapped.run("true") == (
        BROKEN,
        "bartender: tar is needed to unpack the job: put it into the image\n",
    )


def test_without_setsid_the_command_alone_is_ended(tmp_path: Path) -> None:
    programs = [program for program in BUSYBOX.split() if program != "setsid"]
    wrapped = Wrapped(tmp_path, ["/bin/dash"], programs)
    assert wrapped.run("exec sleep 1000", limit=1)[0] == 0
    assert isinstance(code(wrapped), TimeLimitExceeded)


def test_an_image_that_can_fetch_nothing_says_so(tmp_path: Path) -> None:
    wrapped = Wrapped(tmp_path, ["/bin/dash"], BUSYBOX.split())
    status, said = wrapped.run("true", input_url="http://127.0.0.1:1/x")
    assert status == BROKEN
    assert "curl, wget or python3 is needed to fetch the job" in said
