"""What a pilot makes of what Prefect and the service answer: no job is kept, and none is lost by that."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from deployments.pilot import runs
from deployments.pilot.files import AlreadyBegun, JobOver, NotHere
from flows.pilots import words
from flows.waiting.patience import Delays
from tests.deployments.pilot.playing import Played


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
