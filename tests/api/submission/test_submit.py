"""PUT: what is accepted, and that nothing is left of what is refused."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from flows.jobs.job import State
from tests.api.conftest import MAX_UPLOAD_SIZE, README_ZIP, Site, zip_of

ZIP = {"Content-Type": "application/zip"}
ROUTES = ["/api/application/wc", "/api/application/wc/job"]
TYPED = "/api/application/typed"


def upload(content: bytes = README_ZIP) -> dict[str, Any]:
    return {"upload": ("job.zip", content, "application/x-zip-compressed")}


async def pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("form", ["multipart", "bare"])
async def test_accepted(site: Site, alice: httpx.AsyncClient, route: str, form: str) -> None:
    if form == "bare":
        response = await alice.put(route, content=README_ZIP, headers=ZIP)
    else:
        response = await alice.put(route, files=upload())
    assert response.status_code == 303
    job_id = int(response.headers["Location"].removeprefix("/api/job/"))
    assert (await alice.get(response.headers["Location"])).json()["state"] == "new"
    [job] = await site.jobs()
    assert (job.id, job.state, job.command) == (job_id, State.NEW, "wc README.md")
    [path] = site.uploads()
    assert path.name == f"{job.token}.archive"
    assert path.read_bytes() == README_ZIP
    assert path.stat().st_mode & 0o777 == 0o600
    assert site.wakings.count == 1


async def test_roles_are_written_down(site: Site) -> None:
    client = await site.client("alice", "member", "other")
    response = await client.put("/api/application/members", files=upload())
    assert response.status_code == 303
    assert (await site.jobs())[0].roles == ["member", "other"]


@pytest.mark.parametrize("form", ["multipart", "bare"])
@pytest.mark.parametrize("size", [1_000, 70_000, 1 << 20])
async def test_pieces_are_put_together(site: Site, alice: httpx.AsyncClient, form: str, size: int) -> None:
    # Bytes that look like the beginning of a boundary, over the borders of the pieces.
    data = (b"\r\n--" * 7 + b"\r\n--boundar" + b"\0" * 101) * 20_000
    content = zip_of({"README.md": data}, compression=0)
    if form == "bare":
        response = await alice.put(ROUTES[1], content=pieces(content, size), headers=ZIP)
    else:
        head = b'--boundary\r\nContent-Disposition: form-data; name="upload"; filename="a"\r\n\r\n'
        body = head + content + b"\r\n--boundary--\r\n"
        headers = {"Content-Type": "multipart/form-data; boundary=boundary"}
        response = await alice.put(ROUTES[0], content=pieces(body, size), headers=headers)
    assert response.status_code == 303, response.text
    assert site.uploads()[0].read_bytes() == content


async def test_fields_reach_the_command(site: Site, alice: httpx.AsyncClient) -> None:
    fields = {"count": "7", "fast": "true", "text": "a b; rm"}
    response = await alice.put(TYPED, files=upload(), data=fields)
    assert response.status_code == 303, response.text
    assert (await site.jobs())[0].command == "run 7 0.5 true 'a b; rm' a"


async def test_fields_may_come_after_the_archive(site: Site, alice: httpx.AsyncClient) -> None:
    parts = [*upload().items(), ("count", (None, "1")), ("text", (None, "ü"))]
    response = await alice.put(TYPED, files=parts)
    assert response.status_code == 303, response.text
    assert (await site.jobs())[0].command.endswith("'ü' a")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"text": "x"}, "Field count is missing"),
        ({"count": "many", "text": "x"}, "count: 'many' is not of type 'integer'"),
        ({"count": "11", "text": "x"}, "count: 11 is greater than the maximum"),
        ({"count": "1", "text": "x", "mode": "c"}, "mode: 'c' is not one of"),
        ({"count": "1", "text": "x", "typo": "c"}, "Field typo is not known"),
        ({"count": "1", "text": ["x", "y"]}, "text was sent 2 times"),
        ({"count": "1", "text": "\0"}, "NUL"),
        ({"count": "1", "text": "x" * 1_100_000}, "too long"),
        ({"count": "1", "text": ["x"] * 1001}, "too many fields"),
    ],
)
async def test_fields_refused(
    site: Site, alice: httpx.AsyncClient, fields: dict[str, Any], words: str
) -> None:
    response = await alice.put(TYPED, files=upload(), data=fields)
    assert response.status_code == 422
    assert words in response.json()["detail"]
    assert len(response.json()["detail"]) < 1000
    assert await site.nothing_is_left()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not an archive"),
        (b"no zip at all", "not an archive"),
        (README_ZIP[:-10], "damaged"),
        (zip_of({"other": b""}), "lacks README.md"),
        (zip_of({"README.md": b"", "../x": b""}), "'../x'"),
        (zip_of({"README.md": b"", "/etc/x": b""}), "'/etc/x'"),
    ],
)
@pytest.mark.parametrize("form", ["multipart", "bare"])
async def test_archives_refused(
    site: Site, alice: httpx.AsyncClient, content: bytes, words: str, form: str
) -> None:
    if form == "bare":
        response = await alice.put(ROUTES[1], content=content, headers=ZIP)
    else:
        response = await alice.put(ROUTES[1], files=upload(content))
    assert response.status_code == 422
    assert words in response.json()["detail"]
    assert await site.nothing_is_left()


BOUNDARY = {"Content-Type": "multipart/form-data; boundary=x"}
PART = b'--x\r\nContent-Disposition: form-data; name="upload"\r\n\r\n' + README_ZIP + b"\r\n"


@pytest.mark.parametrize(
    ("headers", "body", "words"),
    [
        ({}, README_ZIP, "Send the archive as application/zip"),
        ({"Content-Type": "text/plain"}, README_ZIP, "Send the archive as application/zip"),
        ({"Content-Type": "multipart/form-data"}, PART, "no usable boundary"),
        ({"Content-Type": f"multipart/form-data; boundary={'x' * 5000}"}, PART, "no usable boundary"),
        (BOUNDARY, PART, "not the multipart/form-data"),  # no end
        (BOUNDARY, b"", "not the multipart/form-data"),
        (BOUNDARY, b"rubbish" + PART, "not the multipart/form-data"),
        (BOUNDARY, PART + PART + b"--x--\r\n", "sent twice"),
        (BOUNDARY, b"--x\r\nContent-Type: text/plain\r\n\r\na\r\n--x--\r\n", "no name"),
        (
            BOUNDARY,
            b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\na\r\n--x--\r\n',
            "upload is missing",
        ),
        (
            BOUNDARY,
            PART + b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n\xff\r\n--x--\r\n',
            "UTF-8",
        ),
    ],
)
async def test_bodies_refused(
    site: Site, alice: httpx.AsyncClient, headers: dict[str, str], body: bytes, words: str
) -> None:
    response = await alice.put(ROUTES[0], content=body, headers=headers)
    assert response.status_code == 422
    assert words in response.json()["detail"]
    assert await site.nothing_is_left()


async def test_numbers_that_have_a_directory_are_left_out(site: Site, alice: httpx.AsyncClient) -> None:
    """As when the database is new, or an older copy: what is in them is somebody else's."""

    async def new_id() -> int:
        response = await alice.put(ROUTES[0], content=README_ZIP, headers=ZIP)
        return int(response.headers["Location"].removeprefix("/api/job/"))

    first = await new_id()
    root = site.job_dir(await site.new_job()).parent
    root.mkdir(parents=True, exist_ok=True)
    for number in (2, 3, 4, 6):
        (root / str(first + number)).mkdir()
    (root / str(first + 8)).symlink_to("/nowhere")
    (root / ".9").touch()
    assert [await new_id() - first for _ in range(4)] == [5, 7, 9, 10]


async def test_unknown_application(site: Site, alice: httpx.AsyncClient) -> None:
    for route in ("/api/application/nope", "/api/application/nope/job"):
        response = await alice.put(route, files=upload())
        assert response.status_code == 422
        assert response.json() == {"detail": "There is no application 'nope'."}
    assert await site.nothing_is_left()


async def test_role_is_needed(site: Site, alice: httpx.AsyncClient) -> None:
    response = await alice.put("/api/application/members", files=upload())
    assert response.status_code == 403
    assert await site.nothing_is_left()


@pytest.mark.parametrize("form", ["multipart", "bare", "announced"])
async def test_too_large(site: Site, alice: httpx.AsyncClient, form: str) -> None:
    content = b"x" * (MAX_UPLOAD_SIZE + 1)
    if form == "multipart":
        response = await alice.put(ROUTES[0], files=upload(content))
    elif form == "bare":
        response = await alice.put(ROUTES[0], content=pieces(content, 100_000), headers=ZIP)
    else:
        response = await alice.put(ROUTES[0], content=content, headers=ZIP)
    assert response.status_code == 413
    assert (
        response.json()["detail"] == f"The upload is too large: at most {MAX_UPLOAD_SIZE} bytes are allowed."
    )
    assert await site.nothing_is_left()


async def test_endless_rubbish_after_the_form(site: Site, alice: httpx.AsyncClient) -> None:
    body = PART + b"--x--\r\n" + b"x" * (MAX_UPLOAD_SIZE + 3_000_000)
    response = await alice.put(ROUTES[0], content=pieces(body, 100_000), headers=BOUNDARY)
    assert response.status_code == 413
    assert await site.nothing_is_left()


async def test_largest_allowed(site: Site, alice: httpx.AsyncClient) -> None:
    overhead = len(zip_of({"README.md": b""}, compression=0))
    content = zip_of({"README.md": b"x" * (MAX_UPLOAD_SIZE - overhead)}, compression=0)
    assert len(content) == MAX_UPLOAD_SIZE
    assert (await alice.put(ROUTES[0], files=upload(content))).status_code == 303
    assert (await alice.put(ROUTES[0], content=content, headers=ZIP)).status_code == 303


async def test_refused_before_the_end_is_told_while_sending(site: Site) -> None:
    """A client that goes on sending what was refused gets the answer, and then the end of the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port)
    writer.write(b"PUT /api/application/wc HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(50):
        writer.write(b"1000\r\n" + b"x" * 4096 + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.001)
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 403")
    assert b"connection: close" in head
    writer.write(b"0\r\n\r\n")
    assert (await reader.read()).startswith(b'{"detail":"A token is needed')  # and the end
    writer.close()


async def test_many_at_once_do_not_mix(site: Site) -> None:
    async def one(number: int) -> tuple[int, bytes]:
        client = await site.client(f"user{number}")
        content = zip_of({"README.md": f"{number} ".encode() * 50_000}, compression=0)
        response = await client.put(ROUTES[number % 2], files=upload(content))
        assert response.status_code == 303
        return number, content

    for number, content in await asyncio.gather(*map(one, range(30))):
        [job] = await site.jobs(f"user{number}")
        assert (site.data_dir / "uploads" / f"{job.token}.archive").read_bytes() == content
    assert len(site.uploads()) == 30
    assert site.wakings.count == 30
