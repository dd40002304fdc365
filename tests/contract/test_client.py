"""The client library of the haddock3 web application, against a whole server and its own OpenAPI document."""

import asyncio
import re
import sys
from pathlib import Path

import pytest
import pytest_asyncio

from api.tokens.signing import generate_key_pair
from tests.contract import node
from tests.contract.conftest import token_of
from tests.e2e.service import Service
from tests.services.fixtures import skipped_where_missing
from tests.services.node import run

# How many tests each has: none of them may be lost on the way.
SUBJECTS = {
    path.stem: len(re.findall(r"^ *test\(", path.read_text(), re.MULTILINE))
    for path in sorted((node.HERE / "client").glob("*.ts"))
    if path.stem != "support"
}


@pytest.fixture(scope="session")
def _installed(pytestconfig: pytest.Config) -> None:
    with skipped_where_missing(pytestconfig):
        node.install()


@pytest_asyncio.fixture(scope="package")
async def programs(_installed: None, service: Service, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's tests, compiled with the types of the server's document."""
    url = f"{service.url}/api/openapi.json"
    return await asyncio.to_thread(node.compiled, url, tmp_path_factory.mktemp("client"))


@pytest.mark.parametrize("subject", SUBJECTS)
async def test_the_client(programs: Path, service: Service, subject: str) -> None:
    program = programs / f"{subject}.js"
    done = await asyncio.to_thread(run, "node", str(program), environment=tokens(service))
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^\W*pass (\d+)$", done.stdout, re.MULTILINE)
    assert passed is not None, done.stdout
    assert int(passed[1]) >= SUBJECTS[subject], done.stdout


def tokens(service: Service) -> dict[str, str]:
    another = service.directory / "another_key.pem"
    if not another.exists():
        generate_key_pair(another, service.directory / "another_public_key.pem")
    return {
        "BARTENDER_URL": service.url,
        "PYTHON": sys.executable,
        "VISITOR": token_of(service, "visitor"),
        "STRANGER": token_of(service, "stranger"),
        "EXPIRED": token_of(service, "visitor", -5),
        "FORGED": token_of(service, "visitor", key=another.name),
    }
