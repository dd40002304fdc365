"""A job's files on their way to who runs it and back: whole, in part, cut off, and by curl."""

import asyncio
import hashlib
import io
import os
import shutil
import signal
import tarfile
from pathlib import Path

import httpx
import pytest

from flows.staging import listing
from flows.transfers import client, service
from flows.transfers.client import TransferRefused, fetch_input, send_output
from flows.waiting.patience import Delays
from tests.api.transfers.conftest import MAX_BYTES, FarJob, FarSite
from tests.api.transfers.cutting import CuttingProxy
from tests.flows.archives.making import END, header, make_tar, padded, tree
from tests.waiting import LONG_ENOUGH

MIB = 1 << 20
INPUTS = {"README.md": b"hello\n", "deep/data": os.urandom(3 * MIB), "tool/run": b"#!/bin/sh\n"}


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "_RECONNECTING", Delays(0.01, longest=0.05))
    monkeypatch.setattr(client, "_PATIENT", Delays(0.01, longest=0.05))


async def fetched(job: FarJob, there: Path) -> listing.Listing:
    return await fetch_input(job.url, job.credential(), there)


async def test_there_and_back(far_site: FarSite, tmp_path: Path) -> None:
    job, there = await far_site.job(INPUTS), tmp_path / "there"
    (job.offer.job_dir / "later").write_text("not offered")
    inputs = await fetched(job, there)
    assert {name: (there / name).read_bytes() for name in INPUTS} == INPUTS
    assert not (there / "later").exists()
    (there / "returncode").write_text("0")
    (there / "README.md").write_text("HELLO\n")
    (there / "new").mkdir()
    (there / "new/file").write_bytes(b"")
    (there / "link").symlink_to("new/file")
    await send_output(job.url, job.credential(), there, inputs)
    await send_output(job.url, job.credential(), there, inputs)
    await job.collect()
    taken = tree(job.offer.job_dir)
    assert taken.pop("later") == b"not offered"
    assert taken == tree(there)


async def test_inputs_that_are_as_they_were_do_not_travel_back(
    far_site: FarSite, tmp_path: Path, http: httpx.AsyncClient
) -> None:
    job, there = await far_site.job(INPUTS), tmp_path / "there"
    inputs = listing.parse(listing.write(await fetched(job, there)))  # as a pilot keeps it
    (there / "out").write_text("x")
    await send_output(job.url, job.credential(), there, inputs)
    answer = await http.get(f"{job.path}/output", headers=job.headers())
    assert answer.json()["offset"] == 10240


async def test_nothing_but_the_word_that_it_has_ended(far_site: FarSite, tmp_path: Path) -> None:
    job = await far_site.job({})
    inputs = await fetched(job, tmp_path / "there")
    assert inputs == {}
    await send_output(job.url, job.credential(), tmp_path / "there", inputs)
    await job.collect()
    assert tree(job.offer.job_dir) == {}


async def test_an_input_that_is_cut_off_goes_on_where_it_was(
    far_site: FarSite, tmp_path: Path, proxy: CuttingProxy
) -> None:
    job = await far_site.job(INPUTS)
    proxy.cuts = [(None, 700_000), (None, 1_000_000), (None, 0), (10, None), (None, 1_000_000)]
    await fetch_input(proxy.url, job.credential(), tmp_path / "there")
    assert {name: (tmp_path / "there" / name).read_bytes() for name in INPUTS} == INPUTS
    assert proxy.made == 6


async def test_an_output_that_is_cut_off_goes_on_after_the_last_whole_file(
    far_site: FarSite, tmp_path: Path, proxy: CuttingProxy, http: httpx.AsyncClient
) -> None:
    job, there = await far_site.job({}), tmp_path / "there"
    inputs = await fetched(job, there)
    for n in range(6):
        (there / f"out{n}").write_bytes(os.urandom(MIB))
    proxy.cuts = [(2_500_000, None), (0, None), (2_500_000, None), (None, None)]
    await send_output(proxy.url, job.credential(), there, inputs)
    done = (await http.get(f"{job.path}/output", headers=job.headers())).json()
    assert done["complete"]
    ends = [part["end"] for part in done["parts"]]
    assert ends == [2 * (MIB + 512), 4 * (MIB + 512), done["offset"]]
    await job.collect()
    assert tree(job.offer.job_dir) == tree(there)


async def test_files_that_are_others_when_it_goes_on(
    far_site: FarSite, tmp_path: Path, proxy: CuttingProxy
) -> None:
    """What has come is compared with what there is now."""
    job, there = await far_site.job({}), tmp_path / "there"
    inputs = await fetched(job, there)
    for n in range(4):
        (there / f"out{n}").write_bytes(os.urandom(MIB))
    proxy.hold = 2_500_000
    sending = asyncio.ensure_future(send_output(proxy.url, job.credential(), there, inputs))
    await proxy.held.wait()
    sending.cancel()
    await asyncio.wait([sending])
    proxy.let_go()
    await job.appears("arrived")  # how far it has come
    (there / "out0").write_bytes(os.urandom(MIB))
    await send_output(proxy.url, job.credential(), there, inputs)
    await job.collect()
    assert tree(job.offer.job_dir) == tree(there)


@pytest.mark.parametrize("number", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
async def test_the_service_ends_meanwhile(
    far_site: FarSite, tmp_path: Path, proxy: CuttingProxy, http: httpx.AsyncClient, number: signal.Signals
) -> None:
    job, there = await far_site.job(INPUTS), tmp_path / "there"
    proxy.hold = 1_000_000  # of the input
    fetching = asyncio.ensure_future(fetch_input(proxy.url, job.credential(), there))
    await proxy.held.wait()
    await far_site.restart(number, proxy.let_go)
    inputs = await fetching
    assert {name: (there / name).read_bytes() for name in INPUTS} == INPUTS
    for n in range(6):
        (there / f"out{n}").write_bytes(os.urandom(MIB))
    proxy.hold = 2_500_000  # of the outputs
    sending = asyncio.ensure_future(send_output(proxy.url, job.credential(), there, inputs))
    await proxy.held.wait()
    await job.appears("files/out1")
    await far_site.restart(number, proxy.let_go)
    await sending
    done = (await http.get(f"{job.path}/output", headers=job.headers())).json()
    assert len(done["parts"]) == (
        1 if number == signal.SIGKILL else 2
    )  # it had the time to note how far it was
    await job.collect()
    assert tree(job.offer.job_dir) == tree(there)


async def test_two_thousand_files(far_site: FarSite, tmp_path: Path) -> None:
    job, there = await far_site.job({f"in{n}": b"x" * n for n in range(2000)}), tmp_path / "there"
    inputs = await fetched(job, there)
    assert len(inputs) == 2000
    for n in range(2000):
        (there / f"out{n}").write_bytes(b"y" * n)
    await send_output(job.url, job.credential(), there, inputs)
    await job.collect()
    assert tree(job.offer.job_dir) == tree(there)


async def test_large_files_take_no_memory(far_site: FarSite, tmp_path: Path) -> None:
    job, there = await far_site.job({"small": b"x"}), tmp_path / "there"
    await send_output(job.url, job.credential(), there, await fetched(job, there))
    before = far_site.memory
    with (job.offer.job_dir / "big").open("wb") as file:
        file.truncate(45_000_000)
    job = await far_site.job({"big": (job.offer.job_dir / "big").read_bytes()})
    inputs = await fetched(job, there)
    os.utime(there / "big", (1, 1))
    await send_output(job.url, job.credential(), there, inputs)
    assert far_site.memory < before + 15 * MIB


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (header(name="../out", size=1) + padded(b"x") + END, 422, "inside"),
        (header(name="dev", type=tarfile.CHRTYPE) + END, 422, "device"),
        (header(name="out", size=MAX_BYTES + 1) + bytes(512), 413, "more than 50000000 bytes"),
        (b"".join(header(name=f"f{n}") for n in range(3001)) + END, 413, "more than 3000 files"),
        (header(name="out", size=600) + bytes(512), 422, "too early"),
        (b"", 422, "too early"),
        (b"\x1f\x8b" + bytes(1000), 422, "damaged"),
    ],
)
async def test_what_is_not_taken(
    far_site: FarSite, http: httpx.AsyncClient, content: bytes, status: int, said: str
) -> None:
    job = await far_site.job({"README.md": b"hello"})
    good = header(name="good", size=1) + padded(b"x") if content else b""
    before = tree(far_site.place.job_root)
    answer = await http.put(f"{job.path}/output", headers=job.headers(), content=good + content)
    assert (answer.status_code, said in answer.json()["detail"]) == (status, True), answer.text
    assert tree(far_site.place.job_root) == before


async def test_a_body_that_says_it_is_too_large_is_not_read(far_site: FarSite) -> None:
    job = await far_site.job({})
    reader, writer = await asyncio.open_connection("127.0.0.1", far_site.port)
    head = f"PUT /api/transfer/{job.job.id}/output HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n"
    writer.write(f"{head}Authorization: {job.headers()['Authorization']}\r\n\r\n".encode())
    async with asyncio.timeout(LONG_ENOUGH):
        assert b" 413 " in await reader.readline()
    writer.transport.abort()


async def test_what_a_pilot_hears_of_a_refusal(far_site: FarSite, tmp_path: Path) -> None:
    job, there = await far_site.job({}), tmp_path / "there"
    inputs = await fetched(job, there)
    with (there / "big").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(TransferRefused, match="more than 50000000 bytes") as error:
        await send_output(job.url, job.credential(), there, inputs)
    assert error.value.status == 413


async def test_another_checksum_than_was_said(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    content = make_tar([("out", b"x")])
    for said, status in (("0" * 64, 422), (hashlib.sha256(content).hexdigest(), 200)):
        headers = {**job.headers(), "Transfer-SHA256": said}
        answer = await http.put(f"{job.path}/output", headers=headers, content=content)
        assert answer.status_code == status
        assert ((await http.get(f"{job.path}/output", headers=job.headers())).json()["complete"]) == (
            status == 200
        )


async def test_a_place_to_go_on_that_there_is_not(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job({})
    for said in ("bytes 512-1023/10240", "bytes 5", "lines 1-2/3"):
        headers = {**job.headers(), "Content-Range": said}
        answer = await http.put(f"{job.path}/output", headers=headers, content=bytes(512))
        assert answer.status_code == 416, answer.text


async def test_parts_of_the_input(far_site: FarSite, http: httpx.AsyncClient) -> None:
    job = await far_site.job(INPUTS)
    whole = await http.get(f"{job.path}/input", headers=job.headers())
    assert int(whole.headers["Content-Length"]) == len(whole.content)
    with tarfile.open(fileobj=io.BytesIO(whole.content)) as archive:
        assert "./deep/data" in archive.getnames()
    tag = whole.headers["ETag"]
    for said, part in (("1000-1999", slice(1000, 2000)), ("-100", slice(-100, None)), ("5-", slice(5, None))):
        answer = await http.get(f"{job.path}/input", headers={**job.headers(), "Range": f"bytes={said}"})
        assert (answer.status_code, answer.content == whole.content[part]) == (206, True)
    for more, status in (
        ({"If-None-Match": tag}, 304),
        ({"Range": "bytes=99999999-"}, 416),
        ({"Range": "bytes=5-", "If-Range": '"other"'}, 200),
        ({"Range": "bytes=5-", "If-Range": tag}, 206),
    ):
        answer = await http.get(f"{job.path}/input", headers={**job.headers(), **more})
        assert answer.status_code == status


CURL = """
answer=$(curl -fsS -H "Authorization: Bearer $BARTENDER_PILOT_KEY" -H 'Content-Type: application/json' \
    -d '{"token": "'$TOKEN'", "claimant": "my-machine-1"}' $BARTENDER_API_URL/api/transfer/claim)
CREDENTIAL=$(echo "$answer" | sed 's/.*"credential":"\\([^"]*\\)".*/\\1/')
URL=$BARTENDER_API_URL/api/transfer/$(echo "$answer" | sed 's/.*"job_id":\\([0-9]*\\).*/\\1/')
curl -fsS -H "Authorization: Bearer $CREDENTIAL" $URL/input | tar -xf -
"""
WGET = CURL.replace(
    'curl -fsS -H "Authorization: Bearer $CREDENTIAL"',
    'wget -qO - --header="Authorization: Bearer $CREDENTIAL"',
)
RUN = """
sh -c "$COMMAND" >stdout.txt 2>stderr.txt; echo $? >returncode
"""
BACK_BY_CURL = """
tar -cf - . | curl -fsS -H "Authorization: Bearer $CREDENTIAL" -T - $URL/output
"""
BACK_BY_WGET = """
tar -cf ../out.tar .
wget -qO - --header="Authorization: Bearer $CREDENTIAL" --method=PUT --body-file=../out.tar $URL/output
"""


@pytest.mark.parametrize(
    ("there_by", "back_by"), [(CURL, BACK_BY_CURL), (WGET, BACK_BY_WGET)], ids=["curl", "wget"]
)
@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("wget")), reason="there is no curl or wget")
async def test_in_a_shell(far_site: FarSite, tmp_path: Path, there_by: str, back_by: str) -> None:
    """As docs/http-filesystem.md has it."""
    job, there = await far_site.job(INPUTS), tmp_path / "there"
    there.mkdir()
    variables = {
        "BARTENDER_PILOT_KEY": far_site.key.pilot_key("far"),
        "BARTENDER_API_URL": job.url,
        "TOKEN": job.token,
        "COMMAND": "wc README.md; exit 3",
    }
    process = await asyncio.create_subprocess_exec(
        *("sh", "-c", there_by + RUN + back_by), cwd=there, env={**os.environ, **variables}
    )
    assert await process.wait() == 0
    await job.collect()
    assert tree(job.offer.job_dir) == tree(there)
    assert (job.offer.job_dir / "returncode").read_text() == "3\n"
