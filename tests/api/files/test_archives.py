"""Archives of jobs' directories."""

import asyncio
import io
import os
import shutil
import subprocess
import tarfile
import zipfile
from pathlib import Path

import httpx
import pytest

from api.files import archives, browse, open_file
from api.files.packing import ArchiveFormat
from flows.jobs.job import Job
from tests.api.conftest import Site
from tests.api.files.directories import make_links
from tests.api.files.opened import open_files, soon
from tests.waiting import LONG_ENOUGH

FORMATS = [".zip", ".tar", ".tar.gz", ".tar.bz2", ".tar.xz"]
FILES = {
    "stdout.txt": b"words\n",
    "output/1/a.txt": b"one",
    "output/1/a.log": b"log",
    "output/2/a.txt": b"two" * 200_000,
    "output/a.log": b"",
    "input/1/Gr\u00f6\u00dfe \u03bb.txt": b"umlauts",
}
FOLDERS = {"input/", "input/1/", "output/", "output/1/", "output/2/"}
EVERYTHING = FOLDERS | FILES.keys()


async def job_with(site: Site, files: dict[str, bytes] = FILES) -> tuple[Job, Path]:
    job = await site.ended_job({})
    for name, content in files.items():
        path = site.job_dir(job) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return job, site.job_dir(job)


def unpacked(content: bytes, archive_format: str) -> dict[str, bytes | None]:
    """Return the members with their content, None for directories."""
    if archive_format == ".zip":
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert archive.testzip() is None
            return {i.filename: None if i.is_dir() else archive.read(i) for i in archive.infolist()}
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        members: dict[str, bytes | None] = {}
        for member in tar:
            reader = tar.extractfile(member)
            name = member.name if reader else f"{member.name}/"
            members[name] = reader.read() if reader else None
        return members


async def fetched(
    alice: httpx.AsyncClient,
    job: Job,
    path: str = "",
    archive_format: str = ".zip",
    **params: str | list[str],
) -> dict[str, bytes | None]:
    query = {"archive_format": archive_format, **params}
    response = await alice.get(f"/api/job/{job.id}/archive{path}", params=query)
    assert response.status_code == 200
    return unpacked(response.content, archive_format)


def below(*places: str) -> set[str]:
    return {name for name in EVERYTHING if name.startswith(places)}


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_archive(site: Site, alice: httpx.AsyncClient, archive_format: str) -> None:
    job, directory = await job_with(site)
    (directory / "empty").mkdir()
    members = await fetched(alice, job, archive_format=archive_format)
    assert members == FILES | dict.fromkeys([*FOLDERS, "empty/"])
    below = {name: content for name, content in members.items() if name.startswith("output/")}
    del below["output/"]
    for path in ("/output", "/output/"):
        sub = await fetched(alice, job, path, archive_format=archive_format)
        assert sub == {name.removeprefix("output/"): content for name, content in below.items()}
    assert await fetched(alice, job, "/empty", archive_format=archive_format) == {}


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_other_programs_read_it(
    site: Site, alice: httpx.AsyncClient, archive_format: str, tmp_path: Path
) -> None:
    program = ["unzip", "-q"] if archive_format == ".zip" else ["tar", "-xf"]
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not there")
    job, directory = await job_with(site, {**FILES, "n" * 120 + "/" + "m" * 200: b"long"})
    (directory / "run").write_text("#!/bin/sh\n")
    (directory / "run").chmod(0o700)
    os.utime(directory / "run", (1_000_000_000, 1_000_000_000))
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9")).write_text("latin")
    response = await alice.get(f"/api/job/{job.id}/archive?archive_format={archive_format}")
    (tmp_path / "archive").write_bytes(response.content)
    into = tmp_path / "into"
    into.mkdir()
    done = subprocess.run([*program, "../archive"], cwd=into, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    for name in [*FILES, "n" * 120 + "/" + "m" * 200]:
        assert (into / name).read_bytes() == (directory / name).read_bytes()
    assert (into / "run").stat().st_mode & 0o777 == 0o755
    assert (into / "stdout.txt").stat().st_mode & 0o777 == 0o644
    assert abs((into / "run").stat().st_mtime - 1_000_000_000) <= 2
    names = [os.fsencode(path.name) for path in into.iterdir()]
    assert (b"caf\\xe9" if archive_format == ".zip" else b"caf\xe9") in names


@pytest.mark.parametrize(
    ("params", "gone"),
    [
        ({"exclude": "*.txt"}, {"stdout.txt", "output/1/a.txt", "output/2/a.txt", "input/1/Größe λ.txt"}),
        ({"exclude": ["*.txt", "*.log"]}, set(FILES)),
        ({"exclude": "a.*"}, {"output/1/a.txt", "output/1/a.log", "output/2/a.txt", "output/a.log"}),
        ({"exclude": "?.log"}, {"output/1/a.log", "output/a.log"}),
        ({"exclude": "[!a].txt"}, set()),
        ({"exclude": "*.TXT"}, set()),
        ({"exclude": "1"}, set()),
        ({"exclude": "a"}, set()),
        ({"exclude": "*.txt,*.log"}, set()),
        ({"exclude": ""}, set()),
        ({"exclude": "[z-a]["}, set()),
        ({"exclude": "output/*.log"}, {"output/1/a.log", "output/a.log"}),
        ({"exclude": "Gr\u00f6*"}, {"input/1/Größe λ.txt"}),
        ({"exclude_dirs": "1"}, below("output/1/", "input/1/")),
        ({"exclude_dirs": "output/1"}, below("output/1/")),
        ({"exclude_dirs": ["out*", "inp*"]}, below("output/", "input/")),
        ({"exclude_dirs": "stdout.txt"}, set()),
        ({"exclude_dirs": "output", "exclude": "std*"}, below("output/") | {"stdout.txt"}),
    ],
)
@pytest.mark.parametrize("archive_format", [".zip", ".tar"])
async def test_excluded(
    site: Site,
    alice: httpx.AsyncClient,
    params: dict[str, str | list[str]],
    gone: set[str],
    archive_format: str,
) -> None:
    job, _ = await job_with(site)
    assert set(await fetched(alice, job, "", archive_format, **params)) == EVERYTHING - gone


async def test_patterns_that_take_long_elsewhere(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await job_with(site, {"a" * 200: b""})
    async with asyncio.timeout(LONG_ENOUGH):
        assert await fetched(alice, job, exclude="*a" * 60 + "b")


@pytest.mark.parametrize(
    ("query", "header"),
    [
        ("", 'attachment; filename="{id}.zip"'),
        ("archive_format=.tar.gz", 'attachment; filename="{id}.tar.gz"'),
        ("filename=", 'attachment; filename="{id}.zip"'),
        ("filename=my+run.zip", 'attachment; filename="my run.zip"'),
        ("filename=L%C3%B6sung.zip", "attachment; filename=\"L_sung.zip\"; filename*=UTF-8''L%C3%B6sung.zip"),
        ("filename=a%22b%0d%0aX:y", "attachment; filename=\"a_b__X:y\"; filename*=UTF-8''a%22b__X%3Ay"),
        ("filename=../../etc/x", 'attachment; filename=".._.._etc_x"'),
    ],
)
async def test_filename(site: Site, alice: httpx.AsyncClient, query: str, header: str) -> None:
    job, _ = await job_with(site)
    response = await alice.get(f"/api/job/{job.id}/archive?{query}")
    assert response.headers["Content-Disposition"] == header.format(id=job.id)
    assert "X" not in response.headers


async def test_headers(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    for archive_format in ArchiveFormat:
        url = f"/api/job/{job.id}/archive/output/1/?archive_format={archive_format}"
        for response in (await alice.get(url), await alice.head(url)):
            assert response.status_code == 200
            assert response.headers["Content-Type"] == archive_format.media_type
            assert response.headers["Content-Disposition"] == f'attachment; filename="1{archive_format}"'
            assert "Content-Encoding" not in response.headers
    await soon(lambda: not open_files(directory))


@pytest.mark.parametrize("query", ["archive_format=.rar", "archive_format=zip", f"filename={'x' * 201}"])
async def test_refused(site: Site, alice: httpx.AsyncClient, query: str) -> None:
    job, _ = await job_with(site)
    response = await alice.get(f"/api/job/{job.id}/archive?{query}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(query.partition("=")[0])


@pytest.mark.parametrize("path", ["stdout.txt", "missing", "output/missing"])
async def test_not_a_directory(site: Site, alice: httpx.AsyncClient, path: str) -> None:
    job, _ = await job_with(site)
    response = await alice.get(f"/api/job/{job.id}/archive/{path}")
    assert (response.status_code, response.json()) == (404, {"detail": f"Job {job.id} has no {path}."})


@pytest.mark.parametrize("archive_format", [".zip", ".tar"])
async def test_links_pipes_and_loops(
    site: Site, alice: httpx.AsyncClient, archive_format: str, caplog: pytest.LogCaptureFixture
) -> None:
    job, directory = await job_with(site, {})
    make_links(directory)
    os.mkfifo(directory / "pipe")
    async with asyncio.timeout(LONG_ENOUGH):
        members = await fetched(alice, job, archive_format=archive_format)
    assert not any(content == b"secret" for content in members.values())
    assert {name for name, content in members.items() if "/" not in name} == {"to_file", "absolute", "chain"}
    assert {content for content in members.values() if content is not None} == {b"mine"}
    assert members["to_directory/file"] == b"mine"
    assert members["here/real/file"] == b"mine"
    assert "lacks" not in caplog.text
    assert not any(name.startswith(("out", "root", "self", "pipe", "here/here")) for name in members)


async def test_file_that_is_gone_when_its_turn_comes(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job, directory = await job_with(site)
    opened = browse.JobDirectory.open

    def remove_and_open(self: browse.JobDirectory, found: browse.Found) -> open_file.OpenFile:
        if found.names == ("output", "a.log"):
            directory.joinpath(*found.names).unlink()
        return opened(self, found)

    monkeypatch.setattr(browse.JobDirectory, "open", remove_and_open)
    for archive_format in (".zip", ".tar"):
        (directory / "output" / "a.log").touch()
        members = await fetched(alice, job, archive_format=archive_format)
        assert FILES.keys() - members.keys() == {"output/a.log"}
    assert "lacks output/a.log" in caplog.text


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_a_file_that_shrinks_ends_the_answer(
    site: Site, alice: httpx.AsyncClient, archive_format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, directory = await job_with(site, {"big": os.urandom(30_000_000)})
    read = open_file.OpenFile.read

    def shrink_and_read(self: open_file.OpenFile, position: int, length: int) -> bytes:
        if position > 0:
            os.truncate(directory / "big", 10)
        return read(self, position, length)

    monkeypatch.setattr(open_file.OpenFile, "read", shrink_and_read)
    async with alice.stream("GET", f"/api/job/{job.id}/archive?archive_format={archive_format}") as response:
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
    await soon(lambda: not open_files(directory))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The positions in files that the API reads from."""
    positions: list[int] = []
    read = open_file.OpenFile.read

    def recording_read(self: open_file.OpenFile, position: int, length: int) -> bytes:
        positions.append(position)
        return read(self, position, length)

    monkeypatch.setattr(open_file.OpenFile, "read", recording_read)
    return positions


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_a_reader_who_goes_away(
    site: Site, alice: httpx.AsyncClient, archive_format: str, reads: list[int]
) -> None:
    job, directory = await job_with(site, {"big": os.urandom(50_000_000)})
    async with alice.stream("GET", f"/api/job/{job.id}/archive?archive_format={archive_format}") as response:
        assert await anext(response.aiter_raw())
        assert open_files(directory)
    await soon(lambda: not open_files(directory))
    assert reads[-1] < 40_000_000


async def test_a_reader_of_next_to_nothing_who_goes_away(site: Site, alice: httpx.AsyncClient) -> None:
    """Zeros become so few bytes that nothing waits for the reader."""
    job, directory = await job_with(site, {})
    with (directory / "zeros").open("wb") as sparse:
        sparse.truncate(50_000_000_000)
    async with alice.stream("GET", f"/api/job/{job.id}/archive?archive_format=.tar.bz2") as response:
        assert response.status_code == 200
        await soon(lambda: bool(open_files(directory)))
    await soon(lambda: not open_files(directory))


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_the_first_byte_does_not_wait_for_the_last(
    site: Site, alice: httpx.AsyncClient, archive_format: str, reads: list[int]
) -> None:
    job, directory = await job_with(site, {})
    with (directory / "zeros").open("wb") as sparse:
        sparse.truncate(20_000_000_000)
    async with alice.stream("GET", f"/api/job/{job.id}/archive?archive_format={archive_format}") as response:
        assert await anext(response.aiter_raw())
        assert reads[-1] < 1_000_000_000
    await soon(lambda: not open_files(directory))


async def test_ten_at_once_do_not_mix(site: Site, alice: httpx.AsyncClient) -> None:
    jobs = [await job_with(site, {f"{n}/{i}": bytes([n]) * 100_000 for i in range(20)}) for n in range(5)]

    async def one(n: int, job: Job, archive_format: str) -> None:
        members = await fetched(alice, job, f"/{n}", archive_format=archive_format)
        assert members == {str(i): bytes([n]) * 100_000 for i in range(20)}

    await asyncio.gather(*(one(n, job, kind) for n, (job, _) in enumerate(jobs) for kind in FORMATS))


async def test_no_file_is_written(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, {"big": b"x" * 5_000_000})
    async with alice.stream("GET", f"/api/job/{job.id}/archive") as response:
        assert response.status_code == 200
        assert sorted(directory.parent.rglob("*")) == [directory, directory / "big"]


def memory(line: str) -> int:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{line}:")[2].split()[0])


@pytest.mark.parametrize("archive_format", FORMATS)
async def test_little_memory(site: Site, alice: httpx.AsyncClient, archive_format: str) -> None:
    """This process is the server too."""
    job, directory = await job_with(site, {})
    with (directory / "zeros").open("wb") as sparse:
        sparse.truncate(300_000_000)
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak
    before = memory("VmRSS")
    async with alice.stream("GET", f"/api/job/{job.id}/archive?archive_format={archive_format}") as response:
        async for _ in response.aiter_raw():
            pass
    assert memory("VmHWM") - before < 50_000


async def test_zip64(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With a limit of 4 MB instead of 4 GB, which take half a minute."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1 << 22)
    files = {"big": b"words " * 1_000_000, "dense": os.urandom(6_000_000), "small": b"x"}
    job, _ = await job_with(site, files)
    response = await alice.get(f"/api/job/{job.id}/archive")
    monkeypatch.undo()
    assert unpacked(response.content, ".zip") == files
    (tmp_path / "archive.zip").write_bytes(response.content)
    if shutil.which("unzip"):
        assert subprocess.run(["unzip", "-tq", tmp_path / "archive.zip"], check=False).returncode == 0


async def test_what_is_dense_is_not_compressed(site: Site, alice: httpx.AsyncClient) -> None:
    half = os.urandom(1_000_000)
    job, _ = await job_with(site, {"dense": half + half, "half": half + bytes(1_000_000)})
    response = await alice.get(f"/api/job/{job.id}/archive")
    with zipfile.ZipFile(io.BytesIO(response.content)) as archive:
        assert archive.testzip() is None
        sizes = {member.filename: member.compress_size for member in archive.infolist()}
    assert 2_000_000 < sizes["dense"] < 2_002_000
    assert sizes["half"] < 1_100_000


def test_headers_of_big_tar_members(tmp_path: Path) -> None:
    """More than the eight gigabytes that the oldest tar could tell."""
    with (tmp_path / "zeros").open("wb") as sparse:
        sparse.truncate(9_000_000_000)
    pieces = archives.archive(tmp_path, "", ArchiveFormat.TAR, archives.Excluded([], []))
    beginning = b"".join(piece for piece, _ in zip(pieces, range(5), strict=False))
    pieces.close()
    with tarfile.open(fileobj=io.BytesIO(beginning), mode="r|") as tar:
        member = tar.next()
    assert member is not None
    assert member.size == 9_000_000_000
