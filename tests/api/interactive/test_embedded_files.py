"""Files that are embedded in the values of interactive applications."""

import base64
import stat
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.interactive.embedded_files import TemporaryFiles, extracted
from api.values.schema import InputSchema
from flows.errors import InvalidUpload
from tests.api.conftest import Site

TEXT = {"type": "string", "contentMediaType": "text/plain"}
BASE64 = {"type": "string", "contentEncoding": "base64", "contentMediaType": "application/octet-stream"}
CONTENT = b"\0\xff binary\n"
ENCODED = base64.b64encode(CONTENT).decode()


def files_of(schema: dict[str, Any], values: dict[str, Any], directory: Path) -> dict[str, Any]:
    """Return the values, with what is in the files in place of their paths."""
    found = extracted(InputSchema(schema), values, TemporaryFiles(directory / "files"))
    result: dict[str, Any] = _read(found, directory)
    return result


def _read(value: Any, directory: Path) -> Any:
    if isinstance(value, dict):
        return {name: _read(part, directory) for name, part in value.items()}
    if isinstance(value, list):
        return [_read(part, directory) for part in value]
    if isinstance(value, str) and value.startswith(str(directory)):
        return Path(value).read_bytes()
    return value


@pytest.mark.parametrize(
    ("schema", "value", "expected"),
    [
        (TEXT, "ü\n", "ü\n".encode()),
        (BASE64, ENCODED, CONTENT),
        (BASE64, "", b""),
        (BASE64, f"{ENCODED[:4]}\r\n{ENCODED[4:]}\n", CONTENT),
        ({"type": "string"}, "a", "a"),
        ({"type": "string", "contentEncoding": "base64"}, "YQ==", "YQ=="),
        ({**TEXT, "contentEncoding": "quoted-printable"}, "a", "a"),
        ({**TEXT, "contentEncoding": "8bit"}, "a", b"a"),
        ({"type": ["string", "null"], "contentMediaType": "a/b"}, None, None),
        (True, "a", "a"),
        ({"type": "object", "properties": {"a": TEXT}}, {"a": "x", "b": "y"}, {"a": b"x", "b": "y"}),
        (
            {"type": "object", "patternProperties": {"^f": TEXT}},
            {"f1": "x", "g": "y"},
            {"f1": b"x", "g": "y"},
        ),
        (
            {"properties": {"a": {}}, "additionalProperties": TEXT},
            {"a": "x", "b": "y"},
            {"a": "x", "b": b"y"},
        ),
        ({"type": "array", "items": {"type": "array", "items": TEXT}}, [["x"], []], [[b"x"], []]),
        ({"prefixItems": [{}, TEXT], "items": BASE64}, ["x", "y", ENCODED], ["x", b"y", CONTENT]),
        ({"$ref": "#/$defs/file"}, "x", b"x"),
        ({"allOf": [{"type": "string"}, TEXT]}, "x", b"x"),
        ({"anyOf": [{"type": "null"}, TEXT]}, "x", b"x"),
        ({"anyOf": [{"type": "null"}, TEXT]}, None, None),
        ({"oneOf": [{"maxLength": 1}, {"minLength": 2, **TEXT}]}, "x", "x"),
        ({"oneOf": [{"maxLength": 1}, {"minLength": 2, **TEXT}]}, "xy", b"xy"),
        ({"if": {"minLength": 2}, "then": TEXT}, "xy", b"xy"),
        ({"if": {"minLength": 2}, "then": TEXT}, "x", "x"),
        ({"if": {"minLength": 2}, "else": TEXT}, "x", b"x"),
        (
            {"$ref": "#/$defs/tree"},
            {"file": "a", "more": [{"file": "b"}]},
            {"file": b"a", "more": [{"file": b"b"}]},
        ),
    ],
)
def test_where_the_schema_says_so(schema: Any, value: Any, expected: Any, tmp_path: Path) -> None:
    tree = {"properties": {"file": TEXT, "more": {"items": {"$ref": "#/$defs/tree"}}}}
    whole = {"type": "object", "properties": {"v": schema}, "$defs": {"file": TEXT, "tree": tree}}
    assert files_of(whole, {"v": value}, tmp_path) == {"v": expected}


@pytest.mark.parametrize("text", ["a", "YQ=", "YQ==YQ==", "Y-_=", "Yü==", "%%%%", "data:;base64,YQ=="])
def test_bad_base64(text: str, tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"a": {"items": BASE64}}}
    with pytest.raises(InvalidUpload, match=r"Field a\.0 is not base64"):
        files_of(schema, {"a": [text]}, tmp_path)


def test_files_are_private_and_named_by_their_type(tmp_path: Path) -> None:
    files = TemporaryFiles(tmp_path / "files")
    paths = [files.add(b"", kind) for kind in ("text/csv; charset=utf-8", "../x", "a/b/../../c", "image/png")]
    assert [path.suffix for path in paths] == [".csv", "", "", ".png"]
    assert {path.parent for path in paths} == {tmp_path / "files"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    assert stat.S_IMODE((tmp_path / "files").stat().st_mode) == 0o700
    files.remove()
    files.remove()
    assert not list(tmp_path.iterdir())


def temporary(site: Site) -> list[Path]:
    """Return what is in the directories that processes have for temporary files."""
    found = list((site.data_dir / "interactive" / "files").glob("*/*"))
    assert "lock" in {path.name for path in found}
    return [path for path in found if path.name != "lock"]


async def test_a_command_reads_them(alice: httpx.AsyncClient, site: Site) -> None:
    job = await site.ended_job({})
    response = await alice.post(
        f"/api/job/{job.id}/interactive/embedded",
        json={
            "files": [{"content": ENCODED}, {"content": base64.b64encode(b"two\n").decode()}],
            "note": "n\n",
        },
    )
    answer = response.json()
    assert answer["stdout"] == "\0\ufffd binary\ntwo\nn\n"
    paths = [Path(line) for line in answer["stderr"].splitlines()]
    assert len(paths) == 3
    for path in paths:
        assert path.is_relative_to(site.data_dir / "interactive")
        assert not path.parent.exists()
    assert not temporary(site)
    assert not list(site.job_dir(job).iterdir())


@pytest.mark.parametrize(
    "body", [{"files": [{"content": ENCODED}, {"content": "?"}], "note": ""}, {"note": 1}]
)
async def test_nothing_is_left_of_what_is_refused(
    alice: httpx.AsyncClient, site: Site, body: dict[str, Any]
) -> None:
    job = await site.ended_job({})
    response = await alice.post(f"/api/job/{job.id}/interactive/embedded", json=body)
    assert response.status_code == 422
    assert not temporary(site)
