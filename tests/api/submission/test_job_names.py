"""A job is called as the file that was sent for it."""

import uuid
from typing import Any

import httpx
import pytest

from api.submission.job_name import LONGEST
from tests.api.conftest import README_ZIP, Site

FORM = "/api/application/wc"
BARE = "/api/application/wc/job"

# What a Content-Disposition says after its type, in bytes, and what the job is called; None: after its id.
NAMES: dict[str, tuple[bytes, str | None]] = {
    "a name": (b'; filename="docking run.zip"', "docking run.zip"),
    "without quotes": (b"; filename=a.zip", "a.zip"),
    "without blanks, in capitals": (b';FILENAME="a.zip"', "a.zip"),
    "a semicolon in it": (b'; filename="a; filename=b.zip"', "a; filename=b.zip"),
    "quotes in it": (rb'; filename="a \"b\".zip"', 'a "b".zip'),
    "quotes in it, of a browser": (b'; filename="a %22b%22.zip"', "a %22b%22.zip"),
    "UTF-8": ('; filename="Ünï 蛋白 🧬.zip"'.encode(), "Ünï 蛋白 🧬.zip"),
    "ISO-8859-1": (b'; filename="\xfcber.zip"', "über.zip"),
    "percent signs": (b'; filename="100%25.zip"', "100%25.zip"),
    "a folder": (b'; filename="runs/today/a.zip"', "a.zip"),
    "a folder of Windows": (b'; filename="C:\\Users\\jane\\a.zip"', "a.zip"),
    "a share of Windows": (b'; filename="\\\\host\\runs\\a.zip"', "a.zip"),
    "both slashes": (b'; filename="..\\../a.zip"', "a.zip"),
    "nothing after the folder": (b'; filename="runs/"', None),
    "no name": (b"", None),
    "an empty name": (b'; filename=""', None),
    "blanks": (b'; filename="   "', None),
    "dots": (b'; filename=".."', None),
    "hidden": (b'; filename=".hidden.zip"', ".hidden.zip"),
    "not closed": (b'; filename="a.zip', "a.zip"),
    # RFC 6266 and 8187
    "extended": (b"; filename*=UTF-8''%e2%82%ac%20rates.zip", "€ rates.zip"),
    "extended, of another charset": (b"; filename*=iso-8859-1'en'%A3%20rates.zip", "£ rates.zip"),
    "extended goes first": (b"; filename*=UTF-8''%C3%BC.zip; filename=\"u.zip\"", "ü.zip"),
    "extended goes first, after it": (b"; filename=\"u.zip\"; filename*=UTF-8''%C3%BC.zip", "ü.zip"),
    "extended, with a folder": (b"; filename*=UTF-8''..%2F..%5Ca.zip", "a.zip"),
    "extended, broken": (b"; filename*=UTF-8''%FF%FE.zip; filename=u.zip", "u.zip"),
    "extended, of an unknown charset": (b"; filename*=utf-7''a.zip; filename=u.zip", "u.zip"),
    "extended, without a charset": (b"; filename*=a.zip; filename=u.zip", "u.zip"),
    "continued": (b"; filename*0=a; filename*1=b.zip", None),
    "continued without end": (b"; filename*" + b"9" * 4000 + b"=a", None),
    # Hostile
    "control characters": (b"; filename*=UTF-8''a%00b%1B%5B31mc%7F%C2%9Bd%0D%0Ae.zip", "ab[31mcd e.zip"),
    "a terminal's escape": (b'; filename="a\x1b]0;title\x07b.zip"', "a]0;titleb.zip"),
    "a tab": (b'; filename="a\tb.zip"', "a b.zip"),
    "turned around": (b"; filename*=UTF-8''evil%E2%80%AEpiz.exe", "evilpiz.exe"),
    "isolated": (b"; filename*=UTF-8''%E2%81%A6a%E2%81%A9%E2%80%8F%D8%9C.zip", "a.zip"),
    "other lines": (b"; filename*=UTF-8''a%E2%80%A8b%E2%80%A9c%C2%85d.zip", "a b c d.zip"),
    "nothing to see": (b"; filename*=UTF-8''%E2%80%8B%EF%BB%BF%E2%80%8D", None),
    "joined": (
        '; filename="\u0645\u06cc\u200c\u062e 👩\u200d🔬.zip"'.encode(),
        "\u0645\u06cc\u200c\u062e 👩\u200d🔬.zip",
    ),
    "long": (b'; filename="' + b"a" * 3000 + b'.zip"', "a" * LONGEST),
    "long in UTF-8": (b'; filename="' + "蛋".encode() * 1000 + b'"', "蛋" * LONGEST),
    "SQL": (b'; filename="x\'); DROP TABLE job;--.zip"', "x'); DROP TABLE job;--.zip"),
    "HTML": (b'; filename="<img src=x onerror=alert(1)>.zip"', "<img src=x onerror=alert(1)>.zip"),
}


async def put_form(client: httpx.AsyncClient, disposition: bytes, **headers: str) -> httpx.Response:
    head = b'--b\r\nContent-Disposition: form-data; name="upload"' + disposition + b"\r\n\r\n"
    types = {"Content-Type": "multipart/form-data; boundary=b"}
    return await client.put(FORM, content=head + README_ZIP + b"\r\n--b--\r\n", headers=types | headers)


async def put_bare(client: httpx.AsyncClient, disposition: bytes, **headers: str) -> httpx.Response:
    raw: list[tuple[bytes, bytes]] = [(b"Content-Type", b"application/zip")]
    raw += [(name.encode(), value.encode()) for name, value in headers.items()]
    if disposition:
        raw.append((b"Content-Disposition", b"attachment" + disposition))
    return await client.put(BARE, content=README_ZIP, headers=raw)


async def named(client: httpx.AsyncClient, response: httpx.Response) -> tuple[int, str]:
    assert response.status_code == 303, response.text
    job: dict[str, Any] = (await client.get(response.headers["Location"])).json()
    return job["id"], job["name"]


def can_be_sent(disposition: bytes) -> bool:
    """Whether HTTP lets it into the header of a request."""
    return not any(byte < 32 and byte != 9 for byte in disposition)


@pytest.mark.parametrize("case", NAMES)
async def test_of_a_form(site: Site, alice: httpx.AsyncClient, case: str) -> None:
    disposition, expected = NAMES[case]
    job_id, name = await named(alice, await put_form(alice, disposition))
    assert name == (expected or f"job{job_id}")


@pytest.mark.parametrize("case", [case for case, (sent, _) in NAMES.items() if can_be_sent(sent)])
async def test_of_a_bare_body(site: Site, alice: httpx.AsyncClient, case: str) -> None:
    disposition, expected = NAMES[case]
    job_id, name = await named(alice, await put_bare(alice, disposition))
    assert name == (expected or f"job{job_id}")


async def test_as_clients_send_it(site: Site, alice: httpx.AsyncClient) -> None:
    response = await alice.put(FORM, files={"upload": ("Ünï.zip", README_ZIP, "application/zip")})
    assert (await named(alice, response))[1] == "Ünï.zip"
    listed = (await alice.get("/api/job/", params={"name": "ünï"})).json()
    assert [job["name"] for job in listed] == ["Ünï.zip"]


async def test_the_names_of_other_fields_are_not_it(site: Site, alice: httpx.AsyncClient) -> None:
    parts = [
        ("text", ("text.txt", b"a", "text/plain")),
        ("upload", ("a.zip", README_ZIP, "application/zip")),
        ("count", ("count.txt", b"1", "text/plain")),
    ]
    response = await alice.put("/api/application/typed", files=parts)
    assert (await named(alice, response))[1] == "a.zip"


@pytest.mark.parametrize("put", [put_form, put_bare])
async def test_a_key_that_is_used_again_keeps_the_first_name(
    site: Site, alice: httpx.AsyncClient, put: Any
) -> None:
    key = {"Idempotency-Key": uuid.uuid4().hex}
    first = await named(alice, await put(alice, b'; filename="first.zip"', **key))
    assert first[1] == "first.zip"
    assert await named(alice, await put(alice, b'; filename="second.zip"', **key)) == first
    assert await named(alice, await put(alice, b"", **key)) == first
