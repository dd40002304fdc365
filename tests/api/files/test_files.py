"""Single files of jobs: how they are sent, and to whom."""

import asyncio
import os
from urllib.parse import quote

import httpx
import pytest

from api.files import downloads, open_file
from flows.jobs.job import State
from tests.api.conftest import Site
from tests.api.files.directories import job_with, make_links
from tests.api.files.opened import open_files, soon
from tests.waiting import LONG_ENOUGH

ROUTES = ["files/a.txt", "directories", "directories/a", "archive", "archive/a"]


@pytest.mark.parametrize(
    ("path", "content_type"),
    [
        ("stdout.txt", "text/plain; charset=utf-8"),
        ("output/report.html", "text/html; charset=utf-8"),
        ("output/io.json", "application/json"),
        ("output/a plot.png", "image/png"),
        ("output/model.pdb.gz", "application/gzip"),
        ("output/all.tar.bz2", "application/x-bzip2"),
        ("output/Größe/λ?#&+.csv", "text/csv; charset=utf-8"),
        ("output/table.tsv", "text/plain; charset=utf-8"),
        ("README", "text/plain; charset=utf-8"),
        ("data:text", "text/plain; charset=utf-8"),
    ],
)
async def test_file(site: Site, alice: httpx.AsyncClient, path: str, content_type: str) -> None:
    job, directory = await job_with(site)
    content = b'{"x": NaN}\r\n'
    (directory / path).parent.mkdir(parents=True, exist_ok=True)
    (directory / path).write_bytes(content)
    headers = {"Accept-Encoding": "gzip, deflate", "Content-Type": "application/json"}
    response = await alice.get(f"/api/job/{job.id}/files/{quote(path)}", headers=headers)
    assert response.status_code == 200
    assert response.content == content
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Content-Length"] == str(len(content))
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "Content-Encoding" not in response.headers
    assert response.headers["Content-Disposition"].startswith("inline; filename=")


async def test_unknown_binary_file(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await job_with(site, data=b"\x7fELF\0\1")
    response = await alice.get(f"/api/job/{job.id}/files/data")
    assert response.headers["Content-Type"] == "application/octet-stream"


async def test_empty_file(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await job_with(site, empty=b"")
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=-5"}):
        response = await alice.get(f"/api/job/{job.id}/files/empty", headers=headers)
        assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("a b.txt", 'inline; filename="a b.txt"'),
        ("ü.txt", "inline; filename=\"_.txt\"; filename*=UTF-8''%C3%BC.txt"),
        ('a"b\\c%20', "inline; filename=\"a_b_c_20\"; filename*=UTF-8''a%22b_c%2520"),
    ],
)
async def test_name_in_the_header(site: Site, alice: httpx.AsyncClient, name: str, header: str) -> None:
    job, _ = await job_with(site, **{name: b"x"})
    response = await alice.get(f"/api/job/{job.id}/files/{quote(name)}")
    assert response.status_code == 200
    assert response.headers["Content-Disposition"] == header


@pytest.mark.parametrize(
    ("header", "expected", "content_range"),
    [
        ("bytes=0-4", b"01234", "0-4"),
        ("bytes=2-", b"23456789", "2-9"),
        ("bytes=-3", b"789", "7-9"),
        ("bytes=-100", b"0123456789", "0-9"),
        ("bytes=8-100", b"89", "8-9"),
        ("bytes=9-9", b"9", "9-9"),
        ("bytes = 1 - 2", b"12", "1-2"),
    ],
)
async def test_range(
    site: Site, alice: httpx.AsyncClient, header: str, expected: bytes, content_range: str
) -> None:
    job, _ = await job_with(site, **{"a.txt": b"0123456789"})
    response = await alice.get(f"/api/job/{job.id}/files/a.txt", headers={"Range": header})
    assert (response.status_code, response.content) == (206, expected)
    assert response.headers["Content-Range"] == f"bytes {content_range}/10"
    assert response.headers["Content-Length"] == str(len(expected))
    assert response.headers["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=10-", "bytes=10-20", "bytes=-0", "bytes=999999999999999999-"])
async def test_range_after_the_end(site: Site, alice: httpx.AsyncClient, header: str) -> None:
    job, _ = await job_with(site, **{"a.txt": b"0123456789"})
    response = await alice.get(f"/api/job/{job.id}/files/a.txt", headers={"Range": header})
    assert response.status_code == 416
    assert response.headers["Content-Range"] == "bytes */10"
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"detail": "The file has 10 bytes; the range is after its end."}


@pytest.mark.parametrize(
    "header", ["bytes=-", "bytes=5-2", "bytes=0-1,4-5", "lines=0-1", "bytes=x-", "", "bytes=²-", "9" * 5000]
)
async def test_range_that_is_not_served(site: Site, alice: httpx.AsyncClient, header: str) -> None:
    job, _ = await job_with(site, **{"a.txt": b"0123456789"})
    response = await alice.get(f"/api/job/{job.id}/files/a.txt", headers={b"Range": header.encode("latin-1")})
    assert (response.status_code, response.content) == (200, b"0123456789")


async def test_head(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, **{"a.txt": b"0123456789"})
    for headers in ({}, {"Range": "bytes=0-1"}):
        response = await alice.head(f"/api/job/{job.id}/files/a.txt", headers=headers)
        assert (response.status_code, response.content) == (200, b"")
        assert response.headers["Content-Length"] == "10"
    assert (await alice.head(f"/api/job/{job.id}/files/b.txt")).status_code == 404
    await soon(lambda: not open_files(directory))


async def test_conditions(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, **{"a.txt": b"0123456789"})
    url = f"/api/job/{job.id}/files/a.txt"
    first = await alice.get(url)
    etag = first.headers["ETag"]
    assert first.headers["Last-Modified"].endswith(" GMT")
    assert "no-cache" in first.headers["Cache-Control"]
    for known in (etag, f"W/{etag}", f'"x", {etag}', "*"):
        response = await alice.get(url, headers={"If-None-Match": known})
        assert (response.status_code, response.content) == (304, b"")
        assert response.headers["ETag"] == etag
    part = {"Range": "bytes=0-1", "If-Range": etag}
    assert (await alice.get(url, headers=part)).status_code == 206
    (directory / "a.txt").write_bytes(b"9876543210")
    response = await alice.get(url, headers={"If-None-Match": etag})
    assert (response.status_code, response.content) == (200, b"9876543210")
    assert (await alice.get(url, headers=part)).content == b"9876543210"
    await soon(lambda: not open_files(directory))


@pytest.mark.parametrize("moment", [-1e9, 0, 1e13])
async def test_strange_times(site: Site, alice: httpx.AsyncClient, moment: float) -> None:
    job, directory = await job_with(site, **{"a.txt": b"x"})
    os.utime(directory / "a.txt", (moment, moment))
    assert (await alice.get(f"/api/job/{job.id}/files/a.txt")).status_code == 200
    for archive_format in (".zip", ".tar"):
        response = await alice.get(f"/api/job/{job.id}/archive?archive_format={archive_format}")
        assert response.status_code == 200


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("state", [State.NEW, State.QUEUED, State.RUNNING, State.STAGING_OUT])
async def test_only_after_the_end(site: Site, alice: httpx.AsyncClient, state: State, route: str) -> None:
    job = await site.new_job()
    if state is not State.NEW:
        await site.store.advance(job.id, state)
    response = await alice.get(f"/api/job/{job.id}/{route}")
    assert response.status_code == 425
    assert response.json() == {"detail": f"Job {job.id} is {state}; its files can be read once it has ended."}


@pytest.mark.parametrize("route", ROUTES)
async def test_jobs_of_others(site: Site, alice: httpx.AsyncClient, route: str) -> None:
    job = await site.ended_job({"a.txt": b"secret"}, username="bob")
    response = await alice.get(f"/api/job/{job.id}/{route}")
    assert (response.status_code, response.json()) == (404, {"detail": f"You have no job {job.id}."})
    running = await site.new_job("bob")
    assert (await alice.get(f"/api/job/{running.id}/{route}")).status_code == 404
    assert (await (await site.anonymous()).get(f"/api/job/{job.id}/{route}")).status_code == 403


async def test_token_in_the_query(site: Site) -> None:
    job = await site.ended_job({"a.txt": b"x"})
    anonymous = await site.anonymous()
    for route in ("files/a.txt", "directories", "archive"):
        response = await anonymous.get(f"/api/job/{job.id}/{route}?token={site.keys.token()}")
        assert response.status_code == 200


async def test_job_without_directory(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    directory.rmdir()
    for route in ROUTES:
        response = await alice.get(f"/api/job/{job.id}/{route}")
        assert response.status_code == 404
        assert isinstance(response.json()["detail"], str)


async def test_long_names_make_short_messages(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await job_with(site)
    assert len((await alice.get(f"/api/job/{job.id}/files/{'x' * 5000}")).text) < 150


async def test_a_reader_who_goes_away(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, directory = await job_with(site, big=b"x" * 50_000_000)
    read = open_file.OpenFile.read
    last = 0

    def recording_read(self: open_file.OpenFile, position: int, length: int) -> bytes:
        nonlocal last
        last = position
        return read(self, position, length)

    monkeypatch.setattr(open_file.OpenFile, "read", recording_read)
    async with alice.stream("GET", f"/api/job/{job.id}/files/big") as response:
        assert response.status_code == 200
        assert open_files(directory)
    await soon(lambda: not open_files(directory))
    assert last < 49_000_000


async def test_a_file_that_shrinks_is_not_taken_for_whole(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, directory = await job_with(site, big=b"x" * 50_000_000)
    async with alice.stream("GET", f"/api/job/{job.id}/files/big") as response:
        os.truncate(directory / "big", 10)
        with pytest.raises(httpx.RemoteProtocolError):
            await response.aread()
    await soon(lambda: not open_files(directory))


async def test_no_file_stays_open(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, **{"a.txt": b"0123456789"})
    make_links(directory)
    for path in ("a.txt", "out", "real", "real/deep/top/chain", "self"):
        await alice.get(f"/api/job/{job.id}/files/{path}", headers={"Range": "bytes=20-"})
        await alice.get(f"/api/job/{job.id}/directories/{path}?max_depth=9")
        await alice.get(f"/api/job/{job.id}/archive/{path}")
    await soon(lambda: not open_files(directory))


async def test_slow_readers_hold_neither_threads_nor_the_database(
    site: Site, alice: httpx.AsyncClient
) -> None:
    job, _ = await job_with(site, big=os.urandom(30_000_000), small=b"x")
    readers = [await site.client() for _ in range(40)]
    routes = [f"/api/job/{job.id}/{route}" for route in ("files/big", "archive")] * 20
    requests = [r.build_request("GET", route) for r, route in zip(readers, routes, strict=True)]
    answers = await asyncio.gather(*(r.send(q, stream=True) for r, q in zip(readers, requests, strict=True)))
    assert {answer.status_code for answer in answers} == {200}
    async with asyncio.timeout(LONG_ENOUGH):
        assert (await alice.get(f"/api/job/{job.id}/files/small")).content == b"x"
    await asyncio.gather(*(answer.aclose() for answer in answers))


@pytest.mark.parametrize(
    "name", ["x", "a.tar.gz", "a.bin", "a.tgz", "x.unknown", ".", "..", "data:,x", "a?b"]
)
def test_media_types_are_types(name: str) -> None:
    assert "/" in downloads.media_type(name, b"")
