"""The filesystem ``s3`` where it differs from others: objects, keys, large files, what is left over."""

import asyncio
import time
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import respx

from flows.destinations.filesystem import Storing
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.errors import ConfigurationError, StagingFailed, Unavailable
from flows.filesystems.s3 import Filesystem
from flows.plugins import need_extra
from flows.s3 import bucket, signing, uploads
from flows.ssh.connections import Connections
from tests.flows.s3.playing import give_block, use_block
from tests.services.object_stores import BUCKET, OTHER_KEY, OTHER_SECRET, ObjectStore, SeaweedFs
from tests.waiting import LONG_ENOUGH

TOKEN = "0e2ff7b8-2a6c-4d0c-9d1e-8f6c8a3c4b5d"
OTHER = "11111111-2a6c-4d0c-9d1e-8f6c8a3c4b5d"


@pytest.fixture(params=["seaweedfs", "rclone"])
def server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ObjectStore:
    made: ObjectStore = request.getfixturevalue(request.param)
    made.clear()
    use_block(monkeypatch, made)
    return made


@pytest_asyncio.fixture
async def filesystem(tmp_path: Path) -> AsyncIterator[Filesystem]:
    made = make(tmp_path)
    yield made
    await made.close()


def make(tmp_path: Path, **keys: object) -> Filesystem:
    config = Filesystem.Config.model_validate({"block": "store", "bucket": BUCKET, "prefix": "p", **keys})
    return Filesystem(config, Surroundings(Place(tmp_path, tmp_path), "here", Connections()))


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    directory = tmp_path / "jobs/1"
    directory.mkdir(parents=True)
    (directory / "README.md").write_text("hello\n")
    return directory


async def test_a_job_is_one_object_until_it_is_removed(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path
) -> None:
    await filesystem.stage_in(job_dir, TOKEN)
    assert server.objects() == [f"p/{TOKEN}/input.tar"]
    assert isinstance(filesystem, Storing)
    assert [stored.token for stored in await filesystem.stored()] == [TOKEN]
    await filesystem.remove(job_dir, TOKEN)
    assert server.objects() == []
    assert await filesystem.stored() == []


async def test_addresses_with_and_without_keys(server: ObjectStore, tmp_path: Path, job_dir: Path) -> None:
    filesystem = make(tmp_path, addresses="s3")
    assert (await filesystem.addresses(TOKEN)).output == f"s3://{BUCKET}/p/{TOKEN}/output.tar"
    await filesystem.close()
    filesystem = make(tmp_path)
    await filesystem.stage_in(job_dir, TOKEN)
    addresses = await filesystem.addresses(TOKEN)
    async with httpx.AsyncClient() as client:
        assert (await client.get(addresses.input)).status_code == 200
        assert (await client.get(addresses.input.replace("Signature=", "Signature=0"))).status_code == 403
        # An address is good for one object and one way.
        assert (await client.put(addresses.input, content=b"x")).status_code == 403
    await filesystem.close()


async def test_a_job_without_outputs_has_none(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path
) -> None:
    await filesystem.stage_in(job_dir, TOKEN)
    await filesystem.stage_out(job_dir, TOKEN)
    assert [path.name for path in job_dir.iterdir()] == ["README.md"]


async def test_outputs_that_are_no_tar_are_said(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path
) -> None:
    server.credentials().store(BUCKET).put(f"p/{TOKEN}/output.tar", b"no tar at all" * 100)
    with pytest.raises(StagingFailed, match="are damaged"):
        await filesystem.stage_out(job_dir, TOKEN)


async def test_a_large_file_is_sent_in_parts_and_in_little_memory(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bucket, "PART", 5 << 20)
    with (job_dir / "large").open("wb") as file:
        for number in range(40):
            file.write(bytes([number]) * (1 << 20))
    tracemalloc.start()
    await filesystem.stage_in(job_dir, TOKEN)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    stored = server.credentials().store(BUCKET)
    there = bytes(stored.get(f"p/{TOKEN}/input.tar").bytes())
    assert (job_dir / "large").read_bytes() in there
    assert await under_way(server) == []


async def under_way(server: ObjectStore) -> list[str]:
    return [upload.key for upload in await uploads.under_way(server.credentials(), BUCKET, "")]


async def test_an_upload_that_fails_leaves_nothing(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object) -> Iterator[bytes]:
        yield b"x" * (9 << 20)
        yield b"x" * (9 << 20)
        raise StagingFailed("It was changed.")

    monkeypatch.setattr("flows.transfers.packed.pack", failing)
    with pytest.raises(StagingFailed, match="It was changed"):
        await filesystem.stage_in(job_dir, TOKEN)
    assert await under_way(server) == []
    assert server.objects() == []


async def test_a_cancelled_upload_leaves_nothing(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop, begun = asyncio.get_running_loop(), asyncio.Event()

    def endless(*_: object) -> Iterator[bytes]:
        for number in range(10_000):
            if number == 30:
                loop.call_soon_threadsafe(begun.set)
            yield b"x" * (1 << 20)

    monkeypatch.setattr("flows.transfers.packed.pack", endless)
    sending = asyncio.create_task(filesystem.stage_in(job_dir, TOKEN))
    await begun.wait()
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert await under_way(server) == []
    assert server.objects() == []


async def test_parts_of_a_process_that_was_killed_go_with_the_job(
    server: ObjectStore, filesystem: Filesystem, job_dir: Path
) -> None:
    for token in (TOKEN, OTHER):
        address = signing.address(server.credentials(), BUCKET, f"p/{token}/input.tar")
        headers = signing.headers(server.credentials(), "POST", address, {"uploads": ""})
        async with httpx.AsyncClient() as client:
            (await client.post(f"{address}?uploads=", headers=headers)).raise_for_status()
    await filesystem.remove(job_dir, TOKEN)
    assert await under_way(server) == [f"p/{OTHER}/input.tar"]
    [stored] = await filesystem.stored()  # which is how clean-up finds it
    assert stored.token == OTHER
    assert abs(stored.changed - time.time()) < LONG_ENOUGH
    await filesystem.remove(job_dir, OTHER)
    assert await under_way(server) == []


async def test_keys_that_are_refused_are_read_again(
    seaweedfs: SeaweedFs, filesystem: Filesystem, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    give_block(monkeypatch, seaweedfs.credentials(secret_access_key="expired"))
    for _ in range(2):
        with pytest.raises(Unavailable, match="The keys of the block store are refused for the bucket jobs"):
            await filesystem.stage_in(job_dir, TOKEN)
    give_block(monkeypatch, seaweedfs.credentials(access_key_id=OTHER_KEY, secret_access_key=OTHER_SECRET))
    await filesystem.stage_in(job_dir, TOKEN)
    await filesystem.remove(job_dir, TOKEN)


async def test_a_bucket_that_is_not_there(
    rclone: ObjectStore, tmp_path: Path, job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_block(monkeypatch, rclone)
    filesystem = make(tmp_path, bucket="no-such-bucket")
    with pytest.raises(Unavailable, match="There is no bucket no-such-bucket"):
        await filesystem.stage_in(job_dir, TOKEN)
    await filesystem.close()


@pytest.mark.parametrize("status", [400, 429, 500, 503])
async def test_answers_that_may_pass_are_waited_out(
    seaweedfs: SeaweedFs, respx_mock: respx.MockRouter, status: int
) -> None:
    respx_mock.get(url__startswith=seaweedfs.credentials().endpoint).respond(status)
    with pytest.raises(Unavailable, match=f"HTTP status {status}"):
        await uploads.abort(seaweedfs.credentials(), BUCKET, "p/")


async def test_no_job_waits_for_keys_that_may_not_abort_uploads(
    seaweedfs: SeaweedFs, respx_mock: respx.MockRouter, caplog: pytest.LogCaptureFixture
) -> None:
    respx_mock.get(url__startswith=seaweedfs.credentials().endpoint).respond(403)
    for _ in range(2):
        await uploads.abort(seaweedfs.credentials(), "another", "p/")
    [told] = caplog.messages
    assert "may not list or abort multipart uploads" in told


def test_without_the_extra_one_line_says_so() -> None:
    with pytest.raises(ConfigurationError, match=r"pip install 'bartender\[s3\]'"):
        need_extra("no_such_module", "s3")


@pytest.mark.parametrize(
    "keys", [{"bucket": "Not_A_Bucket"}, {"prefix": "/x"}, {"prefix": "a/../b"}, {"signed_days": 8}]
)
def test_keys_that_cannot_be(tmp_path: Path, keys: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error"):
        make(tmp_path, **keys)
