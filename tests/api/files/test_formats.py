"""PUT of archives of all formats, and what is left of those that are refused."""

import gzip
import shutil
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest
import yaml

from api.app import create_app
from api.submission.body import ARCHIVE_TYPES
from flows import archives
from flows.archives import contents
from flows.archives.limits import UploadLimits
from tests.api.conftest import CONFIG, Keys, Site, no_workers
from tests.flows.archives.making import END, FORMATS, header, make_zip

ROUTE = "/api/application/wc/job"
README = ("README.md", b"one two\n")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("media_type", ARCHIVE_TYPES)
async def test_content_decides(
    site: Site, alice: httpx.AsyncClient, form: str, media_type: str, tmp_path: Path
) -> None:
    content = FORMATS[form]([README])
    bare = await alice.put(ROUTE, content=content, headers={"Content-Type": media_type})
    assert bare.status_code == 303, bare.text
    for part in (media_type, "text/plain"):
        response = await alice.put(ROUTE, files={"upload": ("job.zip", content, part)})
        assert response.status_code == 303, response.text
    for path in site.uploads():
        assert path.read_bytes() == content
        archives.unpack(path, tmp_path / "job", UploadLimits())
        assert (tmp_path / "job/README.md").read_bytes() == README[1]
    assert len(await site.jobs()) == 3


def encrypted() -> bytes:
    content = bytearray(make_zip([README]))
    content[6] = content[content.index(b"PK\x01\x02") + 8] = 1
    return bytes(content)


HOSTILE = {
    "link or device": header(name="README.md", type=b"2", linkname="/etc/passwd") + END,
    "is encrypted": encrypted(),
    "relative names": FORMATS["tar.zst"]([README, ("../x", b"")]),
    "upper and lower case": FORMATS["tar.xz"]([README, ("readme.md", b"")]),
    "twice": FORMATS["zip"]([README, ("./README.md", b"")]),
    "damaged": FORMATS["tar.bz2"]([README])[:-4] + b"fine",
    "200 times": FORMATS["tar.gz"]([README, ("bomb", bytes(20_000_000))]),
    "more than 200 times": FORMATS["zip"]([README, ("bomb", bytes(20_000_000))]),
    "followed by something else": gzip.compress(FORMATS["tar"]([README]) + make_zip([README])),
    "lacks README.md": FORMATS["tar.gz"]([("readme.md", b"")]),
    "at most 64 levels": FORMATS["tar"]([README, ("x/" * 65, b"")]),
}


@pytest.mark.parametrize("words", HOSTILE)
@pytest.mark.parametrize("form", ["multipart", "bare"])
async def test_hostile_archives_leave_nothing(
    site: Site, alice: httpx.AsyncClient, words: str, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "RATIO_FROM", 1 << 20)
    if form == "bare":
        headers = {"Content-Type": "application/zip"}
        response = await alice.put(ROUTE, content=HOSTILE[words], headers=headers)
    else:
        response = await alice.put(ROUTE, files={"upload": HOSTILE[words]})
    assert response.status_code == 422
    assert words in response.json()["detail"]
    assert await site.nothing_is_left()
    assert not list((site.data_dir / "jobs").iterdir())


async def test_no_room_for_what_is_in_it(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: SimpleNamespace(free=(1 << 30) - 1))
    response = await alice.put(ROUTE, files={"upload": make_zip([README])})
    assert response.status_code == 507
    assert response.headers["Retry-After"]
    assert await site.nothing_is_left()


async def test_limits_are_those_of_the_configuration(
    environment: pytest.MonkeyPatch, tmp_path: Path, keys: Keys
) -> None:
    config = {**CONFIG, "uploads": {"max_entries": 2}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    app = create_app(open_workers=no_workers)
    headers = {"Authorization": f"Bearer {keys.token()}"}
    transport = httpx.ASGITransport(app)
    content = FORMATS["tar.gz"]([README, ("a", b""), ("b", b"")])
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", headers=headers) as client,
    ):
        response = await client.put(ROUTE, files={"upload": content})
    assert response.status_code == 422
    assert response.json()["detail"] == "The archive has too many members: at most 2 are allowed."
