"""What a pilot makes of a service that refuses, and of files that a command has spoiled."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
import respx

from deployments.pilot.files import AlreadyBegun, JobOver, NotHere
from deployments.pilot.http_files import HttpFiles
from flows.errors import StagingFailed, Unavailable
from flows.staging import listing
from flows.transfers import client, outputs
from flows.waiting.patience import Delays
from tests.deployments.pilot.playing import ORDER

URL = "http://service.invalid"
CLAIMED = {"job_id": 7, "credential": "secret", "expires": 2_000_000_000, "turn": 0}
NOTHING = {"complete": False, "offset": 0, "parts": [], "left_away": 0}
FILES = HttpFiles(URL, "key", "one-ab12")


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[respx.MockRouter]:
    monkeypatch.setattr(client, "_PATIENT", Delays(0.01, longest=0.01))
    with respx.mock(base_url=f"{URL}/api/transfer", assert_all_called=False) as service:
        service.post("/claim").respond(200, json=CLAIMED)
        service.get("/7/output").respond(200, json=NOTHING)
        yield service


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """That of a job whose command has run."""
    (tmp_path / "files").mkdir()
    (tmp_path / "files/out").write_text("out")
    (tmp_path / "inputs").write_bytes(listing.write({}))
    return tmp_path


@pytest.mark.parametrize(
    ("claim", "fetch", "raised"),
    [
        (401, 0, NotHere),
        (403, 0, NotHere),
        (404, 0, NotHere),
        (422, 0, NotHere),  # such as the name of this pilot
        (409, 0, AlreadyBegun),
        (410, 0, JobOver),
        (200, 401, NotHere),
        (200, 404, NotHere),
        (200, 409, AlreadyBegun),
        (200, 410, JobOver),
    ],
)
async def test_what_refusals_of_the_input_mean(
    service: respx.MockRouter, tmp_path: Path, claim: int, fetch: int, raised: type[Exception]
) -> None:
    service.post("/claim").respond(claim, json=CLAIMED if claim == 200 else {"detail": "no"})
    service.get("/7/input").respond(fetch, json={"detail": "no"})
    with pytest.raises(raised) as error:
        await FILES.fetch(ORDER, tmp_path / "job")
    if isinstance(error.value, NotHere):
        assert error.value.was_taken == (claim == 200)


@pytest.mark.parametrize(
    ("status", "raised"),
    [(401, NotHere), (403, NotHere), (409, NotHere), (410, NotHere), (413, StagingFailed)],
)
async def test_what_refusals_of_the_outputs_mean(
    service: respx.MockRouter, directory: Path, status: int, raised: type[Exception]
) -> None:
    service.put("/7/output").respond(status, json={"detail": "no"})
    with pytest.raises(raised):
        await FILES.send(ORDER, directory)


async def test_outputs_that_have_come_further_meanwhile_are_asked_for_again(
    service: respx.MockRouter, directory: Path
) -> None:
    """The attempt before, which was cut off, was still read when this one began."""
    put = service.put("/7/output").mock(side_effect=taken_at_last)
    await FILES.send(ORDER, directory)
    assert put.call_count == 2


def taken_at_last(request: httpx.Request, route: respx.Route) -> httpx.Response:
    content = request.read()
    if route.call_count == 0:
        return httpx.Response(416, json={"detail": "go on there"})
    part = {"end": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    return httpx.Response(200, json={**NOTHING, "complete": True, "parts": [part]})


def too_long(directory: Path) -> None:
    here = os.open(directory / "files", os.O_RDONLY)
    try:
        for _ in range(40):
            os.mkdir("d" * 200, dir_fd=here)
            here, before = os.open("d" * 200, os.O_RDONLY, dir_fd=here), here
            os.close(before)
    finally:
        os.close(here)


def spoil_the_inputs(directory: Path) -> None:
    (directory / "inputs").write_bytes(b"spoiled")


SPOILS: list[Callable[[Path], None]] = [
    lambda directory: shutil.rmtree(directory / "files"),
    lambda directory: (directory / "inputs").unlink(),
    spoil_the_inputs,
    too_long,
]


@pytest.mark.parametrize("spoil", SPOILS)
async def test_what_a_command_did_to_its_directory_is_an_end(
    service: respx.MockRouter, directory: Path, spoil: Callable[[Path], None]
) -> None:
    spoil(directory)
    with pytest.raises(StagingFailed):
        await FILES.send(ORDER, directory)


async def test_what_the_machine_is_short_of_passes(
    service: respx.MockRouter, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_directory: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "scan", full)
    with pytest.raises(Unavailable):
        await FILES.send(ORDER, directory)


@pytest.mark.parametrize(("status", "raises"), [(200, False), (409, False), (410, False), (403, True)])
async def test_a_job_is_given_back(service: respx.MockRouter, status: int, raises: bool) -> None:
    release = service.post("/release").respond(status, json={"turn": 1, "detail": "no"})
    if raises:
        with pytest.raises(NotHere):
            await FILES.give_back(ORDER)
    else:
        await FILES.give_back(ORDER)
    assert json.loads(release.calls.last.request.content)["turn"] == 0
