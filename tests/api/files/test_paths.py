"""Which paths of a job's directory are opened, and which lead nowhere."""

import asyncio
import os
import socket
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from api.files import browse, open_file
from tests.api.conftest import Site
from tests.api.files.directories import job_with, make_links
from tests.api.files.opened import open_files, soon
from tests.waiting import LONG_ENOUGH


async def raw_status(site: Site, target: bytes) -> int:
    """Ask for exactly this: clients tidy paths up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    head = f" HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {site.keys.token()}\r\n\r\n"
    writer.write(b"GET " + target + head.encode())
    status = int((await reader.readline()).split()[1])
    writer.close()
    return status


@pytest.mark.parametrize("kind", ["files", "directories", "archive"])
@pytest.mark.parametrize(
    "path",
    [
        b"../secret",
        b"../other",
        b"..",
        b"d/../../other",
        b"d/../a.txt",
        b"%2e%2e/other",
        b"..%2fother",
        b"d/%2e%2e/%2e%2e/other",
        b"/etc",
        b"/etc/passwd",
        b"%2fetc%2fpasswd",
        b"~",
        b"a%00.txt",
        b"%00",
        b"%ff",
        b"%ed%a0%80",
        b"\\\\x00",
        b"\\\\xff",
        b"n" * 300,
        b"d/" * 3000 + b"a",
        b"a.txt/b",
        b"missing/a.txt",
        b"a%0ab",
        b"%25",
        b"%",
    ],
)
async def test_paths_that_are_not_there(site: Site, kind: str, path: bytes) -> None:
    job, directory = await job_with(site, **{"a.txt": b"x"})
    (directory / "d").mkdir()
    (directory.parent / "other").mkdir()
    (directory.parent / "secret").write_text("secret")
    assert await raw_status(site, f"/api/job/{job.id}/{kind}/".encode() + path) == 404


async def test_what_is_no_file(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    (directory / "directory").mkdir()
    os.mkfifo(directory / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(directory, os.O_RDONLY)  # the whole path is too long for a socket
    listener.bind(f"/proc/self/fd/{descriptor}/socket")
    (directory / "to_pipe").symlink_to("pipe")
    for name in ("directory", "directory/", "pipe", "socket", "to_pipe", "", "//"):
        async with asyncio.timeout(LONG_ENOUGH):
            response = await alice.get(f"/api/job/{job.id}/files/{name}")
        assert response.status_code == 404
        assert response.json()["detail"].startswith(f"Job {job.id} has no ")
    listener.close()
    os.close(descriptor)


@pytest.mark.parametrize(
    "path",
    [
        "to_file",
        "to_directory/file",
        "real/up",
        "real/deep/top/to_file",
        "absolute",
        "chain",
        "here/here/here/real/file",
        "here/" * 30 + "chain",
    ],
)
async def test_links_inside_are_followed(site: Site, alice: httpx.AsyncClient, path: str) -> None:
    job, directory = await job_with(site)
    make_links(directory)
    response = await alice.get(f"/api/job/{job.id}/files/{path}")
    assert (response.status_code, response.text) == (200, "mine")


@pytest.mark.parametrize(
    "path",
    [
        "out",
        "out_absolute",
        "out_directory/file",
        "out_and_back",
        "out_of_the_top",
        "out_by_prefix",
        "out_by_name",
        "root/etc/passwd",
        "self",
        "ping",
        "dangling",
        "through_file",
        "to_file/x",
        "here/" * 41 + "to_file",
    ],
)
async def test_other_links_lead_nowhere(site: Site, alice: httpx.AsyncClient, path: str) -> None:
    job, directory = await job_with(site)
    make_links(directory)
    (directory / "0").mkdir()
    (directory / "0" / "x").write_text("not what out_by_name says")
    for kind in ("files", "directories", "archive"):
        assert (await alice.get(f"/api/job/{job.id}/{kind}/{path}")).status_code == 404


async def test_the_job_directory_itself_may_be_a_link(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    directory.rename(directory.parent / "real")
    directory.symlink_to("real")
    (directory / "file").write_text("mine")
    (directory / "absolute").symlink_to(directory.parent / "real" / "file")
    for name in ("file", "absolute"):
        assert (await alice.get(f"/api/job/{job.id}/files/{name}")).text == "mine"


@pytest.mark.parametrize("what", ["link", "link above", "pipe", "directory"])
async def test_what_comes_between_look_and_open(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    job, directory = await job_with(site)
    make_links(directory)
    opened = browse.JobDirectory.open

    def swap_and_open(self: browse.JobDirectory, found: browse.Found) -> open_file.OpenFile:
        path = directory / "real" if what == "link above" else directory / "real" / "file"
        path.rename(directory / "moved")
        if what == "pipe":
            os.mkfifo(path)
        elif what == "directory":
            path.mkdir()
        else:
            path.symlink_to(directory.parent / ("elsewhere" if what == "link above" else "secret"))
        return opened(self, found)

    monkeypatch.setattr(browse.JobDirectory, "open", swap_and_open)
    async with asyncio.timeout(LONG_ENOUGH):
        assert (await alice.get(f"/api/job/{job.id}/files/real/file")).status_code == 404
    await soon(lambda: not open_files(directory))


async def test_links_that_change_all_the_time(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    make_links(directory)
    done = False

    def swap() -> None:
        for place in ("elsewhere", "real") * 1_000_000:
            if done:
                return
            (directory / "new").symlink_to(f"../{place}" if place == "elsewhere" else place)
            (directory / "new").rename(directory / "flapping")

    swapping = asyncio.create_task(asyncio.to_thread(swap))
    answers = [await alice.get(f"/api/job/{job.id}/files/flapping/file") for _ in range(100)]
    done = True
    await swapping
    assert {answer.status_code for answer in answers} <= {200, 404}
    assert {answer.text for answer in answers if answer.status_code == 200} <= {"mine"}


async def test_name_with_control_characters(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, **{"a\r\nSet-Cookie: x": b"odd"})
    (directory / "d").mkdir()
    (directory / "d" / "file").write_text("hidden")
    shown = quote("a\\x0d\\x0aSet-Cookie: x")
    response = await alice.get(f"/api/job/{job.id}/files/{shown}")
    assert (response.status_code, response.content) == (200, b"odd")
    assert "Set-Cookie" not in response.headers
    for hidden_slash in ("d\\x2ffile", "d\\x2f..\\x2f..\\x2fsecret", "a\\x00"):
        assert (await alice.get(f"/api/job/{job.id}/files/{quote(hidden_slash)}")).status_code == 404


async def test_name_that_is_not_utf8(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9.txt")).write_bytes(b"latin")
    (directory / "bad\\xe9").write_bytes(b"as it stands")
    Path(os.fsdecode(os.fsencode(directory) + b"/bad\xe9")).write_bytes(b"other")
    for shown, content in {"caf\\xe9.txt": b"latin", "bad\\xe9": b"as it stands"}.items():
        response = await alice.get(f"/api/job/{job.id}/files/{quote(shown)}")
        assert (response.status_code, response.content) == (200, content)
