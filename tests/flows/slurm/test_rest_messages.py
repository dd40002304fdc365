"""What slurmrestd of Slurm 24.11 and 26.05 answered by v0.0.42, and what is made of it. Recorded answers."""

from typing import Any

import pytest

from flows.errors import DestinationRefused, Unavailable
from flows.slurm import rest_messages, rest_v42
from flows.slurm.options import SlurmRequest
from flows.slurm.queries import Row
from flows.slurm.rest_dialects import offered
from flows.slurm.rest_messages import Answer
from flows.slurm.rest_v42 import V42


def number(value: int, *, known: bool = True) -> dict[str, Any]:
    return {"set": known, "infinite": False, "number": value}


def queued(*states: str, reason: str = "None") -> dict[str, Any]:
    return {
        "job_id": 1,
        "name": "wc-1.i.t",
        "job_state": list(states),
        "state_reason": reason,
        "user_name": "alice",
    }


def accounted(*states: str, signal: int | None = None) -> dict[str, Any]:
    return {
        "job_id": 1,
        "name": "wc-1.t",
        "user": "alice",
        "state": {"current": list(states), "reason": "None"},
        "exit_code": {
            "status": ["SUCCESS" if signal is None else "SIGNALED"],
            "return_code": number(0, known=signal is None),
            "signal": {"id": number(signal or 0, known=signal is not None), "name": ""},
        },
    }


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (["PENDING"], "PENDING"),
        (["RUNNING", "CONFIGURING"], "CONFIGURING"),
        (["CANCELLED", "COMPLETING"], "COMPLETING"),
        (["CANCELLED"], "CANCELLED"),
        (["PENDING", "REQUEUED"], "REQUEUED"),
        (["FAILED", "NEW_IN_2030"], "FAILED"),
        (["NEW_IN_2030"], "NEW_IN_2030"),
        ([], ""),
    ],
)
def test_states_are_lists(said: list[str], state: str) -> None:
    assert V42().queued(queued(*said)) == Row("1", "t", state, "None", "i")
    assert V42().accounted(accounted(*said)).state == state


def test_signals_are_numbers_that_may_not_be_set() -> None:
    assert V42().accounted(accounted("FAILED", signal=9)).reason == "RaisedSignal:9"
    assert V42().accounted(accounted("FAILED")).reason == ""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("90:00", 90),
        ("0:30", 1),
        ("1:30:00", 90),
        ("1:30:01", 91),
        ("2-0", 2880),
        ("1-12:30", 2190),
        ("1-12:30:00", 2190),
    ],
)
def test_times_are_minutes(text: str, minutes: int) -> None:
    assert rest_v42.time_limit(text) == number(minutes)


def test_no_limit_is_not_no_time() -> None:
    assert rest_v42.time_limit("0")["infinite"] is True


@pytest.mark.parametrize(
    ("text", "mebibytes"), [("100", 100), ("1025K", 2), ("20M", 20), ("8G", 8192), ("2T", 2 * 1024**2)]
)
def test_memory_is_in_mebibytes(text: str, mebibytes: int) -> None:
    assert rest_v42.mebibytes(text) == mebibytes


@pytest.mark.parametrize(("text", "resource"), [(2, "gres/gpu:2"), ("a100:2", "gres/gpu:a100:2")])
def test_gpus_are_generic_resources(text: Any, resource: str) -> None:
    assert V42().asked(SlurmRequest(gpus=text))["tres_per_job"] == resource


IGNORED = [
    {"description": 'Ignoring unknown field "gpus" of type string in DATA_PARSER_JOB_DESC_MSG',
     "source": "#/job/gpus/"},
    {"description": "Job is in held state, pending scheduler release", "source": "slurm_submit_batch_job()"},
]  # fmt: skip


def test_fields_that_are_ignored_are_named() -> None:
    answer = Answer(200, {"job_id": 2, "errors": [], "warnings": IGNORED})
    assert rest_messages.submitted(answer) == "2"
    assert answer.ignored == ["job/gpus"]
    assert "does not know job/gpus" in str(rest_messages.ignored(answer.ignored))
    assert Answer(200, {"job_id": 2, "errors": [], "warnings": IGNORED[1:]}).ignored == []


def error(number: int, text: str, *, of: str = "Batch job submission failed") -> dict[str, Any]:
    return {"description": of, "error_number": number, "error": text, "source": "somewhere()"}


@pytest.mark.parametrize(
    ("status", "said", "kind"),
    [
        (500, error(2000, "Invalid partition name specified"), DestinationRefused),
        (422, error(2072, "Invalid generic resource (gres) specification"), DestinationRefused),
        (422, error(2127, "Environment is missing in job"), DestinationRefused),
        (
            500,
            error(9202, "Unable to convert Data type", of='Expected integer but got "x"'),
            DestinationRefused,
        ),
        (500, error(2019, "I/O error writing script/environment to file"), Unavailable),
        (502, error(1800, "Unable to contact slurm controller (connect failure)"), Unavailable),
        (500, error(-1, "Unspecified error"), Unavailable),
    ],
)
def test_submissions_that_fail(status: int, said: dict[str, Any], kind: type[Exception]) -> None:
    with pytest.raises(kind) as raised:
        rest_messages.submitted(Answer(status, {"errors": [said], "warnings": []}))
    assert type(raised.value) is kind


def cancelled(code: int, text: str) -> Answer:
    said = {"error": {"string": text, "code": code, "message": text}, "step_id": "1", "job_id": number(1)}
    return Answer(200, {"status": [said], "errors": [], "warnings": []})


def test_cancelling_what_has_ended_does_no_harm() -> None:
    for answer in (
        cancelled(2021, "Job/step already completing or completed"),
        cancelled(2017, "Invalid job id specified"),
    ):
        assert answer.is_good
        assert [rest_messages.of_ended(said) for said in V42().of_cancelling(answer)] == [True]
    refused = cancelled(2010, "Access/permission denied")
    assert [rest_messages.of_ended(said) for said in V42().of_cancelling(refused)] == [False]
    assert V42().of_cancelling(Answer(200, {"status": [], "errors": [], "warnings": []})) == []
    away = error(1, "Operation not permitted", of="Signal request failed")
    answer = Answer(500, {"status": [], "errors": [away], "warnings": []})
    assert [rest_messages.of_ended(said) for said in V42().of_cancelling(answer)] == [False]


def test_nothing_found_is_no_error() -> None:
    warning = {"description": "slurmdb_jobs_get() found nothing", "source": "_dump_jobs"}
    answer = Answer(200, {"jobs": [], "errors": [], "warnings": [warning]})
    assert answer.rows(V42().accounted, "alice") == []
    unasked = error(7000, "Unable to connect to database", of="Failed to open slurmdbd connection")
    with pytest.raises(Unavailable):
        Answer(500, {"jobs": [], "errors": [unasked], "warnings": []}).rows(V42().accounted, "alice")


def test_a_controller_that_is_away_is_named_where_nothing_is_said() -> None:
    answer = Answer(502, {"errors": [], "warnings": []})
    assert not answer.is_good
    assert "its controller is away" in answer.sentence


def openapi(*versions: str) -> dict[str, Any]:
    properties: dict[str, Any] = {"name": {}, "tres_per_job": {}}
    return {
        "paths": {f"/{plugin}/{v}/jobs/": {} for v in versions for plugin in ("slurm", "slurmdb")},
        "components": {"schemas": {f"{v}_job_desc_msg": {"properties": properties} for v in versions}},
    }


def test_the_best_version_is_taken() -> None:
    api = offered(openapi("v0.0.45", "v0.0.44", "v0.0.42"), None)
    assert (api.dialect.version, sorted(api.properties)) == ("v0.0.42", ["name", "tres_per_job"])
    assert offered(openapi("v0.0.38", "v0.0.37"), None).dialect.version == "v0.0.38"
    assert offered(openapi("v0.0.38", "v0.0.42"), "v0.0.38").dialect.version == "v0.0.38"
    with pytest.raises(Unavailable, match=r"offers v0\.0\.39, v0\.0\.41, and only v0\.0\.42 \(Slurm 24"):
        offered(openapi("v0.0.41", "v0.0.39"), None)
    with pytest.raises(Unavailable, match=r"and only v0\.0\.38 \(Slurm 22\.05\) can be used here"):
        offered(openapi("v0.0.42"), "v0.0.38")
