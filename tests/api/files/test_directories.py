"""Listings of jobs' directories."""

import asyncio
import os
import socket
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.files.listings import DEEPEST, DirectoryItem
from flows.jobs.job import Job
from tests.api.conftest import Site
from tests.api.files.directories import make_links
from tests.waiting import LONG_ENOUGH, until


async def job_with(site: Site, *files: str) -> tuple[Job, Path]:
    job = await site.ended_job({})
    for name in files:
        path = site.job_dir(job) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return job, site.job_dir(job)


async def listed(alice: httpx.AsyncClient, job: Job, suffix: str = "") -> dict[str, Any]:
    response = await alice.get(f"/api/job/{job.id}/directories{suffix}")
    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    DirectoryItem.model_validate(response.json())
    item: dict[str, Any] = response.json()
    return item


def file(path: str) -> dict[str, Any]:
    return {"name": path.rpartition("/")[2], "path": path, "is_dir": False, "is_file": True}


def folder(path: str, *children: dict[str, Any]) -> dict[str, Any]:
    item = file(path) | {"is_dir": True, "is_file": False}
    return item | {"children": list(children)} if children else item


def root(*children: dict[str, Any]) -> dict[str, Any]:
    return folder(".", *children) | {"name": ""}


async def test_depths(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, "stdout.txt", "b/c/d", "a", "b/b", "Z")
    (directory / "empty").mkdir()
    ends = [folder("empty"), file("stdout.txt")]
    one = root(file("Z"), file("a"), folder("b"), *ends)
    assert await listed(alice, job) == one
    assert await listed(alice, job, "?max_depth=1") == one
    assert await listed(alice, job, "/") == one
    two = root(file("Z"), file("a"), folder("b", file("b/b"), folder("b/c")), *ends)
    assert await listed(alice, job, "?max_depth=2") == two
    b = folder("b", file("b/b"), folder("b/c", file("b/c/d")))
    three = root(file("Z"), file("a"), b, *ends)
    for depth in (3, 4, DEEPEST + 1, 10**18):
        assert await listed(alice, job, f"?max_depth={depth}") == three
    for path in ("/b", "/b/", "/./b//"):
        assert await listed(alice, job, path) == folder("b", file("b/b"), folder("b/c"))
        assert await listed(alice, job, f"{path}?max_depth=2") == b
    assert await listed(alice, job, "/b/c/?max_depth=1") == folder("b/c", file("b/c/d"))
    assert await listed(alice, job, "/empty") == folder("empty")


async def test_empty_job(site: Site, alice: httpx.AsyncClient) -> None:
    job, _ = await job_with(site)
    assert await listed(alice, job, "?max_depth=5") == root()


@pytest.mark.parametrize("depth", ["0", "-1", "x", "", "1.5", "9" * 5000])
async def test_depths_that_are_none(site: Site, alice: httpx.AsyncClient, depth: str) -> None:
    job, _ = await job_with(site)
    response = await alice.get(f"/api/job/{job.id}/directories?max_depth={depth}")
    assert response.status_code == 422
    assert response.json()["detail"].startswith("max_depth: ")
    assert len(response.text) < 200


@pytest.mark.parametrize("path", ["a", "missing", "b/missing", "a/x"])
async def test_not_a_directory(site: Site, alice: httpx.AsyncClient, path: str) -> None:
    job, _ = await job_with(site, "a", "b/c")
    response = await alice.get(f"/api/job/{job.id}/directories/{path}")
    assert (response.status_code, response.json()) == (404, {"detail": f"Job {job.id} has no {path}."})


async def test_links(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    make_links(directory)
    kinds = {
        item["name"]: (item["is_dir"], item["is_file"]) for item in (await listed(alice, job))["children"]
    }
    assert kinds.pop("real") == (True, False)
    assert {name for name, kind in kinds.items() if kind == (True, False)} == {"to_directory", "here"}
    assert {name for name, kind in kinds.items() if kind == (False, True)} == {"to_file", "absolute", "chain"}
    inside = folder(
        "to_directory",
        folder("to_directory/deep", folder("to_directory/deep/top")),
        file("to_directory/file"),
        file("to_directory/up"),
    )
    assert await listed(alice, job, "/to_directory?max_depth=3") == folder(
        "to_directory",
        folder("to_directory/deep", (await listed(alice, job, "/to_directory/deep/top"))),
        file("to_directory/file"),
        file("to_directory/up"),
    )
    by_the_way = (await listed(alice, job, "?max_depth=9"))["children"]
    assert inside in by_the_way


async def test_loops_of_links_end(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, "d/file")
    for name in "abcdefgh":
        (directory / "d" / name).symlink_to(".")
        (directory / f"to_{name}").symlink_to("d")
    async with asyncio.timeout(LONG_ENOUGH):
        await listed(alice, job, "?max_depth=100")


async def test_neither_files_nor_directories(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    os.mkfifo(directory / "pipe")
    (directory / "to_pipe").symlink_to("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        descriptor = os.open(directory, os.O_RDONLY)
        listener.bind(f"/proc/self/fd/{descriptor}/socket")
        os.close(descriptor)
        async with asyncio.timeout(LONG_ENOUGH):
            item = await listed(alice, job, "?max_depth=3")
    assert [child["name"] for child in item["children"]] == ["pipe", "socket", "to_pipe"]
    assert not any(child["is_dir"] or child["is_file"] for child in item["children"])


async def test_odd_names(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site, "Größe 📈", "<b>&\"'", "a\nb", "n" * 255)
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9")).mkdir()
    Path(os.fsdecode(os.fsencode(directory) + b"/caf\xe9/\xff")).touch()
    item = await listed(alice, job, "?max_depth=2")
    shown = [child["path"] for child in item["children"]]
    assert shown == sorted(["Größe 📈", "<b>&\"'", "a\\x0ab", "n" * 255, "caf\\xe9"])
    assert folder("caf\\xe9", file("caf\\xe9/\\xff")) in item["children"]
    assert await listed(alice, job, "/caf\\xe9") == folder("caf\\xe9", file("caf\\xe9/\\xff"))


async def test_deep_directories(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    place = os.open(directory, os.O_RDONLY)
    for _ in range(1500):
        os.mkdir("d", dir_fd=place)
        below = os.open("d", os.O_RDONLY, dir_fd=place)
        os.close(place)
        place = below
    os.close(place)
    item, depth = await listed(alice, job, f"?max_depth={10**6}"), 0
    while item := item.get("children", [{}])[0]:
        depth += 1
    assert depth == DEEPEST
    assert (await alice.get(f"/api/job/{job.id}/directories/{'d/' * 1500}")).status_code == 200
    response = await alice.get(f"/api/job/{job.id}/archive?archive_format=.tar")
    assert response.status_code == 200
    (directory / "d").rename(directory.parent / "deep")  # shutil.rmtree cannot
    os.system(f"rm -r '{directory.parent}/deep'")


async def test_directories_that_vanish(site: Site, alice: httpx.AsyncClient) -> None:
    job, directory = await job_with(site)
    done = False

    def flicker() -> None:
        while not done:
            (directory / "d" / "e").mkdir(parents=True)
            (directory / "d" / "e").rmdir()
            (directory / "d").rmdir()

    flickering = asyncio.create_task(asyncio.to_thread(flicker))
    statuses = set()
    for _ in range(20):
        statuses.add((await alice.get(f"/api/job/{job.id}/directories?max_depth=9")).status_code)
        statuses.add((await alice.get(f"/api/job/{job.id}/archive?archive_format=.tar")).status_code)
    done = True
    await flickering
    assert statuses == {200}


async def test_ten_thousand_files(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others are answered while they are listed, and each directory is read once."""
    job, directory = await job_with(site)
    for i in range(100):
        (directory / f"d{i}").mkdir()
        for j in range(100):
            (directory / f"d{i}" / f"f{j}").touch()
    scandir, reads, answered = os.scandir, [], threading.Event()

    def read_when_others_are_answered(path: Any) -> Any:
        reads.append(path)
        assert answered.wait(LONG_ENOUGH)
        return scandir(path)

    with monkeypatch.context() as patch:
        patch.setattr(os, "scandir", read_when_others_are_answered)
        listing = asyncio.create_task(listed(alice, job, "?max_depth=5"))
        await until(lambda: bool(reads))
        assert (await (await site.anonymous()).get("/api/docs")).status_code == 200
        answered.set()
        item = await listing
    assert sum(len(child["children"]) for child in item["children"]) == 10_000
    assert len(reads) == 101
