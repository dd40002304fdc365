"""Options of sbatch: what the operator may say, and that nothing in a value begins another option."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from flows.batch import by_commands
from flows.batch.references import Reference
from flows.destinations.scheduler import Submission
from flows.errors import DestinationRefused
from flows.slurm.commands import SlurmCommands
from flows.slurm.options import SlurmOptions, arguments
from flows.wrapper.command import payload


def words(submitter: str = "me", **options: Any) -> list[str]:
    made = SlurmOptions.model_validate(options)
    return shlex.split(arguments(made, name="wc-1.token", directory="/jobs/1", submitter=submitter))


def test_all_options() -> None:
    assert words(
        partition="main,spare",
        time="1-12:30:00",
        cpus=4,
        memory="4G",
        gpus="a100:2",
        cluster="htc",
        submitter_as_account=True,
        extra_options=["--nodes 1", "--constraint='a&b'", "-Ahard", "--exclusive"],
    ) == [
        "--parsable",
        "--export=ALL",
        "--partition=main,spare",
        "--time=1-12:30:00",
        "--cpus-per-task=4",
        "--mem=4G",
        "--gpus=a100:2",
        "--account=me",
        "--clusters=htc",
        "--nodes",
        "1",
        "--constraint=a&b",
        "-Ahard",
        "--exclusive",
        "--job-name=wc-1.token",
        "--chdir=/jobs/1",
        "--output=/dev/null",
        "--error=/dev/null",
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"partition": "main\n#SBATCH --uid=0"},
        {"partition": "$(id)"},
        {"partition": "-x"},
        {"partition": ""},
        {"time": "1:00:00 --uid=0"},
        {"time": "tomorrow"},
        {"time": 5400},  # what YAML makes of 1:30:00
        {"memory": "4 G"},
        {"memory": "lots"},
        {"gpus": "1;id"},
        {"gpus": 0},
        {"cpus": 0},
        {"cluster": "all"},
        {"cluster": "one,other"},
        {"cluster": "-x"},
        {"shell": ""},
        {"shell": "sh; id"},
        {"shell": "sh $(id)"},
        {"setup": ["a\0b"]},
        {"no_such_key": 1},
    ],
)
def test_values_that_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        words(**options)


@pytest.mark.parametrize(
    "option",
    [
        "",
        "--",
        "-",
        "script.sh",
        "--exclusive script.sh more",
        "--nodes=1 script.sh",
        "--nodes=1\n--array=1-9",
        "--comment='open",
        "--array=1-9",
        "--arr=1-9",
        "-a1-9",
        "-Qa1-9",
        "-J name",
        "--job-name=x",
        "--output=x",
        "--err=x",
        "--wrap=id",
        "--wait",
        "-W",
        "-D /tmp",
        "--clusters=other",
        "-Mother",
        "--test-only",
        "-h",
    ],
)
def test_extra_options_that_are_refused(option: str) -> None:
    with pytest.raises(ValidationError):
        words(extra_options=[option])


@pytest.mark.parametrize(
    "option", ["--wait-all-nodes=1", "--export=NONE", "-c4", "-C gpu", "-H", "--comment='a b'"]
)
def test_extra_options_that_are_taken(option: str) -> None:
    assert shlex.split(option)[0] in words(extra_options=[option])


@pytest.mark.parametrize("submitter", ["", "-Ax", "a b", "a\n#SBATCH -x", "$(id)", "ü"])
def test_submitters_that_are_no_account(submitter: str) -> None:
    with pytest.raises(DestinationRefused):
        words(submitter, submitter_as_account=True)
    assert words(submitter)[-1] == "--error=/dev/null"


@pytest.mark.parametrize("name", ["", "a b", "A=1;id", "1A", "-x"])
def test_variables_that_no_shell_takes(name: str) -> None:
    with pytest.raises(DestinationRefused):
        payload((), "true", {name: "x"})


def test_another_cluster_is_a_key() -> None:
    for option in ("--clusters=htc", "--cluster=htc", "-Mhtc", "-M htc"):
        with pytest.raises(ValidationError, match="write the key `cluster` instead"):
            words(extra_options=[option])


def test_all_commands_are_turned_to_the_cluster() -> None:
    jobs = [Reference("t", "1", "/jobs/1")]
    slurm = SlurmCommands(SlurmOptions(cluster="htc"))
    commands = [
        by_commands.order(slurm, a_job("/d"), jobs[0], {}).command,
        slurm.queue(),
        slurm.check(),
        slurm.cancel(["1"]),
        by_commands.evidence(slurm, jobs, jobs).command,
    ]
    for name in ("squeue", "sacct", "scancel", "sinfo"):
        calls = [call for command in commands for call in re.findall(rf"\b{name} .*", command)]
        assert calls
        assert all(call.startswith(f"{name} -M htc ") for call in calls)


def test_a_directory_that_slurm_cannot_take() -> None:
    with pytest.raises(DestinationRefused):
        by_commands.order(SlurmCommands(SlurmOptions()), a_job("/a\nb/1"), Reference("t"), {})


def a_job(directory: str) -> Submission:
    return Submission(
        token="t", job_id=1, application="a", submitter="me", command="true", directory=Path(directory)
    )
