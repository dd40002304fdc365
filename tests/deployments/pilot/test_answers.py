"""What a pilot makes of what Prefect and the service answer: no job is kept, and none is lost by that."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest
import pytest_asyncio

from deployments.pilot import runs, taking
from deployments.pilot.commands import PilotCommands
from deployments.pilot.files import AlreadyBegun, JobOver, NotHere
from flows.errors import DestinationFailed, JobFailure, Unavailable
from flows.local.commands import LocalCommands
from flows.pilots import words
from flows.waiting.patience import Delays
from tests.deployments.pilot.playing import Played, until


@pytest_asyncio.fixture
async def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Played]:
    monkeypatch.setattr(runs, "DELAYS", Delays(0.02, longest=0.1))
    played = Played(tmp_path)
    yield played
    await played.close()


async def test_no_answer_makes_a_pilot_forget_outputs(played: Played) -> None:
    played.files.refusals = [NotHere("status 409"), NotHere("status 410"), NotHere("status 401")]
    run = await played.begin("exit 3")
    await played.idle()
    assert played.files.sent == 1
    assert played.prefect.last(run)["data"]["returncode"] == 3


async def test_outputs_of_a_run_that_is_anothers_are_not_sent(played: Played) -> None:
    played.files.may_send.clear()
    run = await played.begin("exit 3")
    await played.files.is_sending.wait()
    claim = words.claim_of(played.prefect.last(run))
    assert claim is not None
    played.prefect.set(run, words.lost(claim, "gone", is_run_again=True))
    played.files.refusals = [NotHere("status 409")]
    played.files.may_send.set()
    await played.idle()
    assert played.prefect.kinds(run)[-1] == "CRASHED"
    assert played.files.sent == 0


@pytest.mark.parametrize(("error", "kind"), [(AlreadyBegun(), "FAILED"), (JobOver(), "CANCELLED")])
async def test_what_must_not_begin_has_an_end_in_prefect(played: Played, error: Exception, kind: str) -> None:
    played.files.fetching = [error]
    run = await played.begin("true")
    await played.idle()
    assert played.prefect.kinds(run) == ["SCHEDULED", "PENDING", kind]


async def test_a_pilot_without_the_variables_gives_jobs_back(played: Played) -> None:
    played.has_way = False
    run = await played.begin("true")
    await played.idle()
    assert played.prefect.kinds(run) == ["SCHEDULED", "PENDING", "SCHEDULED"]
    assert "BARTENDER_PILOT_KEY" in played.prefect.last(run)["message"]


async def test_a_cancellation_ends_the_sending_of_outputs(played: Played) -> None:
    played.files.may_send.clear()
    run = await played.begin("true")
    await played.files.is_sending.wait()
    played.prefect.set(run, words.cancelling())
    await played.taken.look_after()
    await played.idle()
    assert played.prefect.kinds(run)[-1] == "CANCELLED"


async def test_a_run_that_was_given_up_sends_no_more_outputs(played: Played) -> None:
    played.files.may_send.clear()
    run = await played.begin("true")
    await played.files.is_sending.wait()
    played.prefect.set(run, words.lost(words.Claim("p", "c"), "gone", is_run_again=True))
    await played.taken.look_after()
    await played.idle()
    assert played.prefect.kinds(run)[-1] == "CRASHED"


async def test_outputs_go_on_while_a_pilot_stops(played: Played) -> None:
    played.files.may_send.clear()
    run = await played.begin("exit 3")
    await played.files.is_sending.wait()
    stopping = asyncio.create_task(played.taken.end_all(DestinationFailed("The pilot was stopped.")))
    await asyncio.sleep(0)
    played.files.may_send.set()
    await stopping
    assert played.files.sent == 1
    assert played.prefect.last(run)["data"]["returncode"] == 3


async def test_after_a_mistake_of_ours_a_run_goes_on(played: Played, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "AFTER_A_MISTAKE", Delays(0.02, longest=0.02))
    played.prefect.broken = [KeyError("id"), KeyError("id")]
    run = await played.begin("exit 3")
    await played.idle()
    assert played.prefect.last(run)["data"]["returncode"] == 3


async def test_at_the_goodbye_all_commands_end_at_once(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each waits for all others to be ended, too; the first is told in vain."""
    ended: set[str] = set()
    end = PilotCommands.end

    async def end_together(self: PilotCommands, token: str, failure: JobFailure) -> None:
        ended.add(token)
        await until(lambda: len(ended) == 3)
        if token == min(ended) and not failed:
            failed.append(token)
            raise Unavailable("not now")
        await end(self, token, failure)

    failed: list[str] = []
    ids = [await played.begin("exec sleep 1000") for _ in range(3)]
    await until(lambda: all("RUNNING" in played.prefect.kinds(id_) for id_ in ids))
    monkeypatch.setattr(PilotCommands, "end", end_together)
    await played.taken.end_all(DestinationFailed("The pilot was stopped."))
    assert played.taken.is_idle
    assert [played.prefect.last(id_)["message"] for id_ in ids] == ["The pilot was stopped."] * 3


async def test_what_is_to_end_before_it_is_known_to_go_on_ends(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = await played.begin("exec sleep 1000")
    await until(lambda: "RUNNING" in played.prefect.kinds(run))
    await played.restart()
    await played.taken.end_all(DestinationFailed("The pilot was stopped."))
    assert played.prefect.last(run)["message"] == "The pilot was stopped."


async def test_a_command_that_starts_late_is_asked_for_again(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its variables come when the run has been given up."""
    prefect = played.prefect

    async def variables(_block: str) -> dict[str, str]:
        prefect.set(run, words.lost(words.Claim("p", "c"), "gone", is_run_again=True))
        monkeypatch.setattr(runs, "SURE_SECONDS", 0.0)  # so long it took
        return {"COLOUR": "red"}

    monkeypatch.setattr(prefect, "variables", variables)
    run = await played.begin("touch begun", environment="block")
    await played.idle()
    assert prefect.kinds(run) == ["SCHEDULED", "PENDING", "CRASHED"]
    assert not (played.files.directory / "begun").exists()


async def test_variables_reach_the_command(played: Played) -> None:
    await played.begin("echo $COLOUR >colour", environment="block")
    await played.idle()
    assert (played.files.directory / "colour").read_text() == "red\n"


async def test_a_pilot_that_is_killed_twice_in_its_start_tells_no_cancellation(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    launch = LocalCommands.launch

    async def never(self: LocalCommands, token: str, environment: Mapping[str, str]) -> bool:
        await asyncio.sleep(1000)
        return True

    monkeypatch.setattr(LocalCommands, "launch", never)
    run = await played.begin("exit 3")
    await until(lambda: bool(commands_of(played)))
    await played.taken.stop()
    monkeypatch.setattr(LocalCommands, "launch", launch)
    with monkeypatch.context() as patch:
        patch.setattr(LocalCommands, "forget", kill)
        with pytest.raises(Killed):
            await played.restart()
    await played.restart()
    await played.idle()
    assert played.prefect.last(run)["data"]["returncode"] == 3


class Killed(BaseException):
    pass


def kill(_commands: LocalCommands, _token: str) -> None:
    raise Killed


def commands_of(played: Played) -> list[Path]:
    return list(played.directory.glob("pilot/**/submission.json"))


async def test_what_was_taken_can_be_taken_in_the_next_turn(played: Played) -> None:
    played.files.fetching = [NotHere("status 404", was_taken=True)]
    run = await played.begin("true")
    await played.idle()
    assert played.files.given_back == [0]
    assert played.prefect.orders[run]["turn"] == 1
    assert played.prefect.kinds(run) == ["SCHEDULED", "PENDING", "SCHEDULED"]


async def test_what_was_not_taken_stays_in_its_turn(played: Played) -> None:
    played.files.fetching = [NotHere("status 403")]
    run = await played.begin("true")
    await played.idle()
    assert (played.files.given_back, played.prefect.orders[run]["turn"]) == ([], 0)
    assert played.prefect.kinds(run)[-1] == "SCHEDULED"


async def test_giving_back_goes_on_after_an_interruption(played: Played) -> None:
    """Nothing but to tell Prefect was left to be done: the job is in its next turn."""
    played.files.fetching = [NotHere("status 404", was_taken=True)]
    played.files.refusal_to_give_back = [Unavailable("not now")] * 1000
    run = await played.begin("true")
    await until(lambda: played.prefect.orders[run]["turn"] == 1)
    played.files.fetching = [AlreadyBegun()]
    await played.restart()
    await played.idle()
    assert played.prefect.kinds(run) == ["SCHEDULED", "PENDING", "SCHEDULED"]


async def test_what_cannot_be_given_back_ends_with_the_reason(played: Played) -> None:
    played.files.fetching = [NotHere("status 404", was_taken=True)]
    played.files.refusal_to_give_back = [NotHere("status 403")]
    run = await played.begin("true")
    await played.idle()
    assert played.prefect.kinds(run)[-1] == "FAILED"
    assert "status 403" in played.prefect.last(run)["message"]
