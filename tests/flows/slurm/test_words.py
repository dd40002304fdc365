"""What Slurm 22.05 printed, and what is made of it. The outputs are recorded ones."""

from pathlib import Path

import pytest

from flows.batch import by_commands, script
from flows.batch.notes import Notes
from flows.batch.references import Reference, installation_of, job_name, job_names, token_of
from flows.destinations.host import Completed
from flows.destinations.scheduler import Status, Submission
from flows.errors import (
    CommandFailed,
    DestinationFailed,
    DestinationRefused,
    JobCancelled,
    JobFailure,
    OutOfMemory,
    TimeLimitExceeded,
    Unavailable,
)
from flows.slurm import complaints, queries, states
from flows.slurm.commands import SlurmCommands
from flows.slurm.options import SlurmOptions
from flows.slurm.queries import Row

SQUEUE = """\
18|CANCELLED|None|wc-1.can
27|COMPLETED|None|wc-1.chd
22|COMPLETING|None|wc-1.req
20|FAILED|NonZeroExitCode|wc-1.code
17|OUT_OF_MEMORY|OutOfMemory|wc-1.oom
31|PENDING|ReqNodeNotAvail, UnavailableNodes:node1|wc-1.nodes
24|PENDING|DependencyNeverSatisfied|some|job|of|somebody
16|RUNNING|None|wrap
"""

SACCT = """\
16|RUNNING|0:0|to
17|OUT_OF_MEMORY|0:125|wc-1.oom
18|CANCELLED by 1001|0:0|wc-1.can
19|FAILED|0:9|wc-1.sig
20|FAILED|3:0|wc-1.code
21|PENDING|0:0|allocation
"""

# The enumeration of its OpenAPI document, without what is no state of a job.
SLURM_26_05 = set(
    """
    PENDING RUNNING SUSPENDED COMPLETED CANCELLED FAILED TIMEOUT NODE_FAIL PREEMPTED BOOT_FAIL DEADLINE
    OUT_OF_MEMORY LAUNCH_FAILED REQUEUED REQUEUE_HOLD SPECIAL_EXIT RESIZING CONFIGURING COMPLETING STOPPED
    RECONFIG_FAIL POWER_UP_NODE REVOKED REQUEUE_FED RESV_DEL_HOLD SIGNALING STAGE_OUT EXPEDITING
    """.split()  # noqa: SIM905  # a table
)

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"
INSTALLATION = "5b1d9a52-76c1-4f0e-8a39-0c2f6f6f2a11"


SLURM = SlurmCommands(SlurmOptions())


def test_squeue_is_read() -> None:
    assert queries.queue(SQUEUE) == [
        Row("18", "can", "CANCELLED", "None"),
        Row("27", "chd", "COMPLETED", "None"),
        Row("22", "req", "COMPLETING", "None"),
        Row("20", "code", "FAILED", "NonZeroExitCode"),
        Row("17", "oom", "OUT_OF_MEMORY", "OutOfMemory"),
        Row("31", "nodes", "PENDING", "ReqNodeNotAvail, UnavailableNodes:node1"),
        Row("24", "some|job|of|somebody", "PENDING", "DependencyNeverSatisfied"),
        Row("16", "wrap", "RUNNING", "None"),
    ]


@pytest.mark.parametrize("text", ["", "\n", "slurm_load_jobs error", "x|RUNNING|None|a.b", "1|RUNNING"])
def test_what_is_no_job_is_passed_over(text: str) -> None:
    assert queries.queue(text) == []


def test_notes_and_accounting_are_read() -> None:
    jobs = [Reference("a", "19", "/jobs/1"), Reference("b", "20", "/jobs/2"), Reference("c", "21", "/jobs/3")]
    notes = "0||yes\n|yes|\n||yes\n"
    evidence = by_commands.read_evidence(SLURM, jobs, f"{notes}--\n{SACCT}--\n")
    assert list(evidence.notes.values()) == [Notes(0), Notes(None, True, False), Notes()]
    assert evidence.rows is not None
    assert evidence.rows[2:5] == [
        Row("18", "can", "CANCELLED", ""),
        Row("19", "sig", "FAILED", "RaisedSignal:9"),
        Row("20", "code", "FAILED", ""),
    ]
    assert by_commands.read_evidence(SLURM, jobs, notes).rows == []
    assert by_commands.read_evidence(SLURM, jobs, f"{notes}--\n--\n").rows == []


def test_accounting_that_did_not_answer_is_told_from_one_that_knows_nothing() -> None:
    job = [Reference("a", "19", "/jobs/1")]
    assert by_commands.read_evidence(SLURM, job, "||\n--\n").rows is None
    assert by_commands.read_evidence(SLURM, job, "||\n--\n19|COMPL").rows is None


@pytest.mark.parametrize("notes", ["", "0||\n", "0||\n0||\n0||\n", "0||\n0||\nsomething\n--\n", "0||\n0\n"])
def test_half_an_answer_is_none(notes: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        by_commands.read_evidence(SLURM, [Reference("a", "1", "/a"), Reference("b", "2", "/b")], notes)


@pytest.mark.parametrize(
    ("state", "reason", "notes", "failure"),
    [
        ("CANCELLED", "None", Notes(), JobCancelled),
        ("TIMEOUT", "TimeLimit", Notes(), TimeLimitExceeded),
        ("DEADLINE", "DeadLine", Notes(), TimeLimitExceeded),
        ("OUT_OF_MEMORY", "OutOfMemory", Notes(), OutOfMemory),
        ("OUT_OF_MEMORY", "OutOfMemory", Notes(137), OutOfMemory),
        ("OUT_OF_MEMORY", "OutOfMemory", Notes(0), OutOfMemory),
        ("NODE_FAIL", "NodeDown", Notes(), DestinationFailed),
        ("BOOT_FAIL", "None", Notes(), DestinationFailed),
        ("PREEMPTED", "None", Notes(), DestinationFailed),
        ("REVOKED", "None", Notes(), DestinationFailed),
        ("FAILED", "BadConstraints", Notes(), DestinationRefused),
        ("FAILED", "JobLaunchFailure", Notes(), CommandFailed),
        ("FAILED", "RaisedSignal:9(Killed)", Notes(), CommandFailed),
        ("COMPLETED", "None", Notes(cancelled=True), JobCancelled),
    ],
)
def test_ends_with_a_failure(state: str, reason: str, notes: Notes, failure: type[JobFailure]) -> None:
    end = states.end(state, reason, notes)
    assert end is not None
    assert end.state == "ended"
    assert type(end.failure) is failure
    assert str(end.failure).endswith(".")


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL"])
def test_a_command_that_came_to_its_end_has_its_return_code(state: str) -> None:
    assert states.end(state, "None", Notes(3)) == Status(state="ended", returncode=3)


@pytest.mark.parametrize("state", ["COMPLETED", "FAILED", "NEW_IN_2030", "", "RUNNING", "PENDING"])
def test_what_proves_nothing_is_no_end(state: str) -> None:
    assert states.end(state, "None", Notes()) is None


@pytest.mark.parametrize("state", ["NEW_IN_2030", "", "RUNNING", "PENDING", "REQUEUED"])
def test_a_return_code_alone_is_no_end(state: str) -> None:
    assert states.end(state, "None", Notes(0)) is None


def test_each_state_is_in_one_table() -> None:
    assert not states.ENDED & set(states.ACTIVE)
    assert states.ENDED | set(states.ACTIVE) == SLURM_26_05


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        ("None", None),
        ("Priority", None),
        ("(Resources)", None),
        ("PartitionTimeLimit", "more time than the partition allows"),
        ("PartitionNodeLimit", "more nodes than the partition allows"),
        ("PartitionConfig", "more than the partition has"),
        ("AssocGrpCpuLimit", "a limit of the cluster is reached (AssocGrpCpuLimit)"),
        ("QOSMaxWallDurationPerJobLimit", "it may never start"),
        ("JobHeldAdmin", "held by an administrator"),
        ("PartitionDown", "the partition is down"),
        ("launch_failed_requeued_held", "it could not be started and is held"),
        ("launch failed requeued held", "it could not be started and is held"),
        ("job requeued in held state", "it was put back into the queue and is held"),
        ("Nodes required for job are DOWN, DRAINED or reserved", "(Nodes required for job are DOWN, DRAINED"),
        ("ReqNodeNotAvail, UnavailableNodes:node1", "the nodes that it needs are not available"),
        ("SomethingNew", "(SomethingNew)"),
    ],
)
def test_why_a_job_waits(reason: str, text: str | None) -> None:
    status = states.waiting("PENDING", reason)
    assert status.state == "queued"
    assert status.reason is None if text is None else text in str(status.reason)


@pytest.mark.parametrize(
    ("stderr", "kind"),
    [
        ("sbatch: error: invalid partition specified: nope\n"
         "sbatch: error: Batch job submission failed: Invalid partition name specified", DestinationRefused),
        ("sbatch: error: Batch job submission failed: Requested node configuration is not available",
         DestinationRefused),
        ("sbatch: error: Invalid --time specification", DestinationRefused),
        ("sbatch: unrecognized option '--bogus'\nTry \"sbatch --help\" for more information",
         DestinationRefused),
        ("sbatch: error: Batch job submission failed: Invalid account or account/partition combination "
         "specified", DestinationRefused),
        ("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsbatch: error: Batch job submission failed: Job "
         "violates accounting/QOS policy (job submit limit, user's size and/or time limits)", Unavailable),
        ("sbatch: error: Batch job submission failed: Required partition not available (inactive or drain)",
         Unavailable),
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)",
         Unavailable),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", Unavailable),
        ("sbatch: error: Batch job submission failed: Protocol authentication error", Unavailable),
        ("sbatch: error: Batch job submission failed: I/O error writing script/environment to file",
         Unavailable),
        ("sbatch: error: No cluster 'htc' known by database.\n"
         "sbatch: error: 'htc' can't be reached now, or it is an invalid entry for --cluster.  Use 'sacctmgr "
         "list clusters' to see available clusters.", Unavailable),
        ("/bin/sh: 5: sbatch: not found", Unavailable),
        ("", Unavailable),
    ],
)  # fmt: skip
def test_complaints(stderr: str, kind: type[Exception]) -> None:
    error = complaints.of_sbatch(Completed(1, "", stderr))
    assert type(error) is kind
    assert "\n" not in str(error)
    assert "error:" not in str(error)


def a_job(application: str, installation: str = "") -> Submission:
    return Submission(
        token=TOKEN,
        job_id=7,
        application=application,
        submitter="me",
        command="true",
        directory=Path("/x"),
        installation=installation,
    )


def test_the_job_can_be_named_and_found_again() -> None:
    job = a_job("a b/`c`\n#SBATCH")
    assert job_name(job) == f"a_b__c___SBATCH-7.{TOKEN}"
    assert token_of(job_name(job)) == TOKEN
    assert installation_of(job_name(job)) == ""
    assert job_names(job) == job_name(job)


def test_the_installation_is_in_the_name() -> None:
    job = a_job("wc", INSTALLATION)
    name = f"wc-7.{INSTALLATION}.{TOKEN}"
    assert job_name(job) == name
    assert (installation_of(name), token_of(name)) == (INSTALLATION, TOKEN)
    assert job_names(job) == f"{name},wc-7.{TOKEN}"
    assert queries.queue(f"1|RUNNING|None|{name}\n") == [Row("1", TOKEN, "RUNNING", "None", INSTALLATION)]


@pytest.mark.parametrize("directory", ["/jobs/7", "/a:b/ü c/7"])
def test_references_are_read_back(directory: str) -> None:
    reference = Reference(TOKEN, "123", directory)
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(TOKEN) == Reference(TOKEN, None, None)
    assert str(Reference(TOKEN)) == TOKEN


@pytest.mark.parametrize(
    ("stdout", "slurm_id"),
    [
        ("12\n", "12"),
        ("12;cluster\n", "12"),
        ("13 9\n", "9"),
        ("Welcome 5\n12\n", "12"),
        ("cancelled\n", None),
    ],
)
def test_what_a_submission_says(stdout: str, slurm_id: str | None) -> None:
    assert script.submitted(stdout) == slurm_id


@pytest.mark.parametrize("stdout", ["", "12", "Welcome to the cluster!\n"])
def test_what_is_no_id_is_not_taken_for_one(stdout: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        script.submitted(stdout)
