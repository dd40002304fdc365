"""The service as a whole: health, errors, its document, its start."""

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
import sqlalchemy as sa
import yaml
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from api.app import create_app
from api.submission.body import ARCHIVE_TYPES
from api.tokens.capabilities import Capabilities
from deployments.settings import Settings
from flows.configuration.config import load
from flows.errors import ConfigurationError
from flows.jobs.store import JobStore
from tests.api.conftest import CONFIG, README_ZIP, Keys, Site, no_workers, serving


class Resolved(NamedTuple):
    """A schema, and what finds references in its document."""

    contents: dict[str, Any]
    at: Callable[[str], Any]


ZIP = {"Content-Type": "application/zip"}


@asynccontextmanager
async def serving_client(**options: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with (
        serving(create_app(open_workers=no_workers)) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", **options) as client,
    ):
        yield client


async def test_health(site: Site) -> None:
    response = await (await site.anonymous()).get("/api/health")
    assert (response.status_code, response.json()) == (200, None)


async def ask_everything(client: httpx.AsyncClient) -> list[httpx.Response]:
    return [
        await client.get("/api/health"),
        await client.get("/api/job/"),
        await client.get("/api/job/1"),
        await client.post("/api/job/1/name", json="x"),
        await client.put("/api/application/wc", content=README_ZIP, headers=ZIP),
    ]


async def test_database_that_is_not_there_and_a_capability(
    environment: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("BARTENDER_DB_DSN", f"postgresql://user@/base?host={tmp_path}")
    async with serving_client() as client:
        settings = Settings.load()
        place = settings.place(load(settings.config_filename))
        capability = Capabilities.of(place.capability_key).make(1)
        answer = await client.get(f"/api/view/{capability}/a.html")
    assert answer.status_code == 503
    assert "GET /api/view/…/a.html: The database does not answer." in caplog.text
    assert capability not in "".join(
        record.getMessage() for record in caplog.records if record.name == "api.errors"
    )


async def test_database_that_is_not_there(
    environment: pytest.MonkeyPatch, keys: Keys, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    environment.setenv("BARTENDER_DB_DSN", f"postgresql://user:secret@/base?host={tmp_path}")
    headers = {"Authorization": f"Bearer {keys.token()}"}
    async with serving_client(headers=headers) as client:
        answers = await ask_everything(client)
    for answer in answers:
        assert answer.status_code == 503
        assert answer.headers["Retry-After"]
        assert "secret" not in answer.text
    assert not list((tmp_path / "data" / "uploads").iterdir())
    lines = [record.getMessage() for record in caplog.records if record.name == "api.errors"]
    assert len(lines) >= len(answers) - 1  # health says so by itself
    assert (
        "GET /api/job/1: The database does not answer. (FileNotFoundError: [Errno 2] No such" in caplog.text
    )
    assert "Traceback" not in caplog.text
    assert "secret" not in caplog.text


async def test_database_that_hangs(environment: pytest.MonkeyPatch) -> None:
    listener = socket.create_server(("127.0.0.1", 0))  # takes connections and never answers
    port = listener.getsockname()[1]
    environment.setenv("BARTENDER_DB_DSN", f"postgresql://user@127.0.0.1:{port}/base")
    async with serving_client() as client:
        assert (await client.get("/api/health", timeout=60)).status_code == 503
    listener.close()


async def test_database_that_comes_back(site: Site, alice: httpx.AsyncClient) -> None:
    job = await site.new_job()
    assert (await alice.get(f"/api/job/{job.id}")).status_code == 200
    others = "pid <> pg_backend_pid() AND datname = current_database()"
    await site.store.pool.fetch(
        sa.text(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE {others}")
    )
    await site.store.pool.close()
    statuses = [(await alice.get(f"/api/job/{job.id}")).status_code for _ in range(3)]
    assert set(statuses) <= {200, 503}
    assert statuses[-1] == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/api/nope", 404), ("GET", "/api/job/1/?token=x", 404), ("DELETE", "/api/health", 405)],
)
async def test_no_such_route(site: Site, method: str, path: str, status: int) -> None:
    response = await (await site.anonymous()).request(method, path)
    assert response.status_code == status
    assert isinstance(response.json()["detail"], str)


@pytest.mark.parametrize(
    ("path", "methods"),
    [("/api/job/1", "DELETE, GET, HEAD"), ("/api/health", "GET, HEAD"), ("/api/application/wc", "PUT")],
)
async def test_methods_that_a_path_has(site: Site, path: str, methods: str) -> None:
    response = await (await site.anonymous()).patch(path)
    assert (response.status_code, response.headers["Allow"]) == (405, methods)


async def test_unexpected_error(
    site: Site, alice: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def get(_store: JobStore, _job_id: int) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(JobStore, "get", get)
    response = await alice.get("/api/job/1")
    assert response.status_code == 500
    assert response.headers["Connection"] == "close"
    assert list(response.json()) == ["detail"]
    assert "a bug" not in response.text
    assert "Traceback" in caplog.text
    assert "a bug" in caplog.text
    monkeypatch.undo()
    assert (await alice.get("/api/job/1")).status_code == 404


async def test_nothing_is_compressed(site: Site, alice: httpx.AsyncClient) -> None:
    for _ in range(30):
        await site.new_job()
    response = await alice.get("/api/job/?limit=100", headers={"Accept-Encoding": "gzip, deflate"})
    assert "Content-Encoding" not in response.headers


async def document(site: Site) -> dict[str, Any]:
    response = await (await site.anonymous()).get("/api/openapi.json")
    assert response.status_code == 200
    answer: dict[str, Any] = response.json()
    return answer


@pytest.mark.parametrize("page", ["docs", "redoc"])
async def test_docs(site: Site, page: str) -> None:
    response = await (await site.anonymous()).get(f"/api/{page}")
    assert response.status_code == 200
    assert "/api/openapi.json" in response.text


async def test_operations(site: Site) -> None:
    paths = (await document(site))["paths"]
    operations = {
        (method, path): operation["operationId"]
        for path, methods in paths.items()
        for method, operation in methods.items()
    }
    assert operations == {
        ("get", "/api/health"): "health_check",
        ("get", "/api/whoami"): "whoami",
        ("get", "/api/job/"): "retrieve_jobs",
        ("get", "/api/job/{jobid}"): "retrieve_job",
        ("post", "/api/job/{jobid}/name"): "rename_job_name",
        ("post", "/api/job/{jobid}/cancel"): "cancel_job",
        ("post", "/api/job/{jobid}/pin"): "pin_job",
        ("delete", "/api/job/{jobid}/pin"): "unpin_job",
        ("get", "/api/destinations"): "list_destinations",
        ("delete", "/api/job/{jobid}"): "delete_job",
        ("get", "/api/job/{jobid}/stdout"): "retrieve_job_stdout",
        ("get", "/api/job/{jobid}/stderr"): "retrieve_job_stderr",
        ("get", "/api/job/{jobid}/events"): "retrieve_job_events",
        ("get", "/api/job/{jobid}/files/{path}"): "retrieve_job_file",
        ("get", "/api/job/{jobid}/directories"): "retrieve_job_directories",
        ("get", "/api/job/{jobid}/directories/{path}"): "retrieve_job_directories_from_path",
        ("get", "/api/job/{jobid}/archive"): "retrieve_job_directory_as_archive",
        ("get", "/api/job/{jobid}/archive/{path}"): "retrieve_job_subdirectory_as_archive",
        ("post", "/api/job/{jobid}/interactive/sh"): "interactive_application_sh",
        ("post", "/api/job/{jobid}/interactive/hasty"): "interactive_application_hasty",
        ("post", "/api/job/{jobid}/interactive/lasting"): "interactive_application_lasting",
        ("post", "/api/job/{jobid}/interactive/stopped"): "interactive_application_stopped",
        ("post", "/api/job/{jobid}/interactive/show"): "interactive_application_show",
        ("post", "/api/job/{jobid}/interactive/embedded"): "interactive_application_embedded",
        ("post", "/api/job/{jobid}/interactive/file"): "interactive_application_file",
        ("post", "/api/job/{jobid}/interactive/typed"): "interactive_application_typed",
        ("get", "/api/job/{jobid}/interactive/{application}/{result}"): "retrieve_interactive_result",
        ("get", "/api/application/"): "list_applications",
        ("put", "/api/application/wc"): "application_wc",
        ("put", "/api/application/wc/job"): "application_wc_job",
        ("put", "/api/application/typed"): "application_typed",
        ("put", "/api/application/typed/job"): "application_typed_job",
        ("put", "/api/application/members"): "application_members",
        ("put", "/api/application/members/job"): "application_members_job",
    }


async def test_applications_in_the_document(site: Site) -> None:
    paths = (await document(site))["paths"]
    operation = paths["/api/application/typed"]["put"]
    assert (operation["summary"], operation["description"]) == ("Upload job to typed", "Takes fields")
    assert paths["/api/application/wc"]["put"]["summary"] == "Count words"
    assert operation["tags"] == ["application"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["Idempotency-Key"]
    assert list(operation["requestBody"]["content"]) == ["multipart/form-data"]
    form = operation["requestBody"]["content"]["multipart/form-data"]
    assert form["encoding"] == {"upload": {"contentType": ", ".join(ARCHIVE_TYPES)}}
    schema = form["schema"]
    configured = CONFIG["applications"]["typed"]["input_schema"]
    upload = schema["properties"].pop("upload")
    assert (upload["type"], upload["format"]) == ("string", "binary")
    assert schema.pop("required") == ["upload", "count", "text"]
    assert schema == {name: value for name, value in configured.items() if name != "required"}
    bare = paths["/api/application/typed/job"]["put"]["requestBody"]["content"]
    assert list(bare) == ["multipart/form-data", *ARCHIVE_TYPES]
    assert "hold" not in upload["description"]
    needing = paths["/api/application/wc/job"]["put"]["requestBody"]["content"]
    for described in (
        needing["multipart/form-data"]["schema"]["properties"]["upload"],
        needing["application/zip"]["schema"],
    ):
        assert described["description"].endswith("It has to hold `README.md`")


async def test_interactive_applications_in_the_document(site: Site) -> None:
    schema = await document(site)
    operation = schema["paths"]["/api/job/{jobid}/interactive/show"]["post"]
    assert (operation["summary"], operation["description"]) == ("Show values", "Writes what it got")
    result = schema["paths"]["/api/job/{jobid}/interactive/{application}/{result}"]["get"]
    assert operation["tags"] == result["tags"] == ["interactive"]
    assert [parameter["name"] for parameter in operation["parameters"]] == ["jobid"]
    assert set(operation["responses"]) >= {"200", "401", "403", "404", "413", "422", "425", "503", "504"}
    content = operation["requestBody"]["content"]
    assert list(content) == ["application/json"]
    shown = content["application/json"]["schema"]
    configured = CONFIG["interactive_applications"]["show"]["input_schema"]
    assert shown["properties"].keys() == configured["properties"].keys()
    reference = shown["properties"]["count"]["$ref"]
    found = Registry().with_resource("", DRAFT202012.create_resource(schema)).resolver().lookup(reference)
    assert found.contents == configured["$defs"]["count"]
    result = schema["components"]["schemas"]["InteractiveAppResult"]
    assert result["required"] == ["returncode", "stdout", "stderr"]


async def test_security_in_the_document(site: Site) -> None:
    schema = await document(site)
    assert set(schema["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyQuery", "APIKeyCookie"}
    for path, methods in schema["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path != "/api/health")
            assert "401" in operation["responses"] or path == "/api/health"
    assert {"JobModelDTO", "User"} <= set(schema["components"]["schemas"])
    assert "HTTPValidationError" not in schema["components"]["schemas"]


@pytest.fixture
def placed(environment: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[dict[str, Any]], Resolved]:
    """Return a schema as the form's in the document, with what finds references in it."""

    def place(schema: dict[str, Any]) -> Resolved:
        application = {"command_template": "true", "input_schema": schema}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump({"applications": {"a~b ü": application}}))
        document = create_app(open_workers=no_workers).openapi()
        content = document["paths"]["/api/application/a~b ü"]["put"]["requestBody"]["content"]
        resolver = Registry().with_resource("", DRAFT202012.create_resource(document)).resolver()
        return Resolved(
            content["multipart/form-data"]["schema"], lambda reference: resolver.lookup(reference).contents
        )

    return place


async def test_references_of_an_input_schema_lead_somewhere(
    placed: Callable[[dict[str, Any]], Resolved],
) -> None:
    form = placed(
        {
            "$id": "https://example.org/schema",
            "type": "object",
            "properties": {
                "level": {"$ref": "#/$defs/a level"},
                "name": {"$ref": "#name"},
                "default": {"default": {"$ref": "#/$defs/name"}},
            },
            "$defs": {"a level": {"type": "integer"}, "name": {"$anchor": "name", "type": "string"}},
        }
    )
    assert "$id" not in form.contents
    properties = form.contents["properties"]
    assert form.at(properties["level"]["$ref"]) == {"type": "integer"}
    assert form.at(properties["name"]["$ref"]) == {"type": "string"}
    assert properties["default"] == {"default": {"$ref": "#/$defs/name"}}


async def test_an_input_schema_that_refers_to_itself(
    placed: Callable[[dict[str, Any]], Resolved],
) -> None:
    form = placed(
        {
            "type": "object",
            "properties": {"child": {"$ref": "#"}, "size": {"type": "integer"}},
            "$defs": {"fields1": {"items": {"$ref": "#"}}},
        }
    )
    assert form.contents["properties"].keys() == {"upload", "child", "size"}
    child = form.at(form.contents["properties"]["child"]["$ref"])
    assert child["properties"].keys() == {"child", "size"}
    assert "required" not in child
    assert form.at(child["properties"]["child"]["$ref"]) == child
    assert form.contents["$defs"]["fields1"]["items"] == child["properties"]["child"]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("CONFIG_FILENAME", "missing.yaml", "there is no such file"),
        ("PUBLIC_KEY", "missing.pem", "missing.pem: cannot be read"),
        ("DB_DSN", None, "no database is configured"),
        ("DB_DSN", "mysql://x", "only postgresql"),
        ("MAX_UPLOAD_SIZE", "0", "max_upload_size"),
    ],
)
def test_mistakes_of_the_operator(
    environment: pytest.MonkeyPatch, variable: str, value: str | None, words: str
) -> None:
    if value is None:
        environment.delenv(f"BARTENDER_{variable}")
    else:
        environment.setenv(f"BARTENDER_{variable}", value)
    with pytest.raises(ConfigurationError, match=words) as caught:
        create_app()
    assert "\n" not in str(caught.value)
