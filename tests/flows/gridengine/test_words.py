"""What Grid Engine 8.1.9 prints, and what is made of it."""

import shlex
from typing import Any

import pytest
from pydantic import ValidationError

from flows.batch.notes import Notes
from flows.batch.rows import Row
from flows.destinations.host import Completed
from flows.destinations.scheduler import Status
from flows.errors import (
    CommandFailed,
    DestinationFailed,
    DestinationRefused,
    JobCancelled,
    JobFailure,
    TimeLimitExceeded,
    Unavailable,
)
from flows.gridengine.commands import GridEngineCommands
from flows.gridengine.options import GridEngineOptions, arguments
from flows.gridengine.rows import Accounted, Queued

ENGINE = GridEngineCommands(GridEngineOptions())

QUEUE = """id 2
name a-1.inst.tok
state r
id 6
name err
state Eqw
id 4
name it&apos;s
state hqw
whole
of 6
error 11/28/2026 17:43:16 [0:2965]: error: can't chdir to /nonexistent: No such file or directory
"""

ACCOUNTING = """id 6
name a-1.inst.err
failed       28  : changing into working directory
exit_status  0                   
id 6
name a-1.inst.err
failed       100 : assumedly after job
exit_status  137                  (Killed)
"""  # noqa: W291 - as it prints it


def test_the_queue_is_read() -> None:
    assert ENGINE.read_queue(QUEUE) == [
        Queued("2", "tok", "inst", "r"),
        Queued("6", "err", "", "Eqw", "can't chdir to /nonexistent: No such file or directory"),
        Queued("4", "it's", "", "hqw"),
    ]


def test_half_an_answer_is_none() -> None:
    with pytest.raises(Unavailable, match="half an answer"):
        ENGINE.read_queue(QUEUE.partition("whole")[0])


def test_of_a_job_that_could_not_be_started_at_first_the_last_record_counts() -> None:
    assert ENGINE.read_accounting(ACCOUNTING) == [Accounted("6", "err", "inst", "100", "137")]


@pytest.mark.parametrize(
    ("state", "phase", "reason"),
    [
        ("qw", "queued", None),
        ("hqw", "queued", "it is held"),
        ("Eqw", "queued", "could not start the job"),
        ("t", "running", None),
        ("Rr", "running", None),
        ("S", "running", "suspended"),
        ("dr", "ending", None),
        ("dRr", "ending", None),
        ("?", "unknown", None),
    ],
)
def test_states(state: str, phase: str, reason: str | None) -> None:
    row = Queued("1", "t", "", state)
    assert row.phase == phase
    said = row.waiting().reason
    assert said is None if reason is None else reason in str(said)
    assert row.end(Notes(0)) is None


@pytest.mark.parametrize(
    ("failed", "exit_status", "notes", "failure"),
    [
        ("37", "137", Notes(), TimeLimitExceeded),
        ("100", "138", Notes(), TimeLimitExceeded),
        ("100", "137", Notes(), CommandFailed),
        ("100", "137", Notes(cancelled=True), JobCancelled),
        ("0", "0", Notes(cancelled=True), JobCancelled),
        ("28", "0", Notes(), DestinationFailed),
    ],
)
def test_ends(failed: str, exit_status: str, notes: Notes, failure: type[JobFailure]) -> None:
    row: Row = Accounted("1", "t", "", failed, exit_status)
    end = row.end(notes)
    assert end is not None
    assert type(end.failure) is failure
    assert row.end(Notes(3)) == Status(state="ended", returncode=3)


def test_the_code_of_the_script_says_nothing() -> None:
    assert Accounted("1", "t", "", "0", "0").end(Notes()) is None


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ('Unable to run job: unknown resource "nope"\nExiting.\n', DestinationRefused),
        ('qsub: invalid option argument "-bogus"\n', DestinationRefused),
        ("Unable to run job: error: no suitable queues\nExiting.\n", DestinationRefused),
        ("Unable to run job: warning: root's job is not allowed to run in any queue\n"
         'Your job 6 ("err") has been submitted\nExiting.\n', Unavailable),
        ("Unable to run job: job rejected: Only 5 jobs are allowed per user (job count: 5)\nExiting.\n",
         Unavailable),
        ('error: commlib error: got select error (Connection refused)\nUnable to run job: unable to send '
         'message to qmaster using port 6444 on host "node1": got send error\nExiting.\n', Unavailable),
        ("", Unavailable),
    ],
)  # fmt: skip
def test_complaints(stderr: str, kind: type[Exception]) -> None:
    assert type(ENGINE.not_submitted(Completed(1, "", stderr))) is kind


def test_jobs_that_have_ended_meanwhile_can_be_cancelled() -> None:
    gone, other = 'denied: job "999" does not exist\n', 'denied: job "1" belongs to somebody\n'
    assert ENGINE.over_already(Completed(1, "", f"root has registered the job 2 for deletion\n{gone}"))
    assert not ENGINE.over_already(Completed(1, "", gone + other))
    assert not ENGINE.over_already(Completed(1, "", "error: commlib error\n"))


def words(**options: Any) -> list[str]:
    return shlex.split(arguments(GridEngineOptions.model_validate(options), name="wc-1.token"))


def test_all_options() -> None:
    assert words(
        queue="main.q,long.q@@fast",
        project="p",
        time="1:00:00",
        soft_time="0:59:00",
        memory="4G",
        slots=2,
        resources={"gpu": 1},
        extra_options=["-p -100", "-ac 'note=a b'"],
    ) == [
        *["-clear", "-C", "", "-terse", "-S", "/bin/sh", "-r", "n", "-q", "main.q,long.q@@fast", "-P", "p"],
        *["-pe", "smp", "2", "-l", "h_rt=1:00:00,s_rt=0:59:00,h_vmem=4G,gpu=1"],
        *["-p", "-100", "-ac", "note=a b"],
        *["-N", "wc-1.token", "-wd", "/", "-o", "/dev/null", "-e", "/dev/null", "-j", "n", "-b", "n"],
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"queue": "-t"},
        {"queue": "a b"},
        {"time": 3600},
        {"time": "1h"},
        {"memory": "lots"},
        {"slots": 0},
        {"resources": {"gpu": "1,h_rt=0"}},
        {"resources": {"a b": 1}},
        {"settings": "settings.sh"},
        {"shell": "sh; id"},
        {"extra_options": ["-t 1-9"]},
        {"extra_options": ["-N name"]},
        {"extra_options": ["-sync y"]},
        {"extra_options": ["-p 1 -t 1-9"]},
        {"extra_options": ["script.sh"]},
        {"extra_options": ["-@ file"]},
        {"extra_options": ["-p '1"]},
    ],
)
def test_values_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        words(**options)
