import io
import zipfile
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from api.tokens.signing import generate_token
from tests.e2e.service import Service

CONFIG = """
applications:
  script:
    summary: A script
    description: Runs the script of the upload.
    command_template: sh script.sh
    upload_needs: [script.sh]
  greet:
    command_template: echo {{ name }} {{ times }} {{ loud }} {{ style }}
    upload_needs: [input.txt]
    input_schema:
      type: object
      properties:
        name: {type: string, minLength: 1}
        times: {type: integer, minimum: 1, maximum: 9, default: 1}
        loud: {type: boolean, default: false}
        style: {type: string, enum: [plain, fancy], default: plain}
      required: [name]
      additionalProperties: false
  runimport:
    command_template: mkdir -p output && mv * output || true
  restricted:
    command_template: sh script.sh
    allowed_roles: [staff]
interactive_applications:
  count:
    summary: Lines that match
    description: Counts the lines of a file that match a pattern.
    command_template: grep -c -e {{ pattern }} {{ file }} > counted.txt && echo counted
    job_application: script
    timeout: 20
    input_schema:
      type: object
      properties:
        pattern: {type: string}
        file: {type: string}
      required: [pattern, file]
      additionalProperties: false
destinations:
  local:
    scheduler: {type: memory, slots: 8}
    filesystem: {type: local}
"""


@pytest_asyncio.fixture(scope="package")
async def service(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Service]:
    """One server for all tests of the contract."""
    service = Service(tmp_path_factory.mktemp("contract"), CONFIG)
    await service.start()
    yield service
    await service.stop()


def token_of(service: Service, username: str, minutes: int = 60, key: str = "private_key.pem") -> str:
    """Return the token of a visitor with the role of members."""
    return generate_token(service.directory / key, username, ["member"], minutes, "tests")


def zipped(files: dict[str, str]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return content.getvalue()
