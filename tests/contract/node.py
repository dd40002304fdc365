"""The client library of web applications, as npm installs it, and the programs that use it."""

import shutil
from pathlib import Path

from tests.services import node
from tests.services.node import run

HERE = Path(__file__).parent
MODULES = HERE / "node_modules"


def install() -> None:
    """Install the versions of package-lock.json, once; raise Missing."""
    node.install("the test of the contract with web applications", HERE)


def compiled(document_url: str, directory: Path) -> Path:
    """Make types from an OpenAPI document, compile the tests with them, and return where they are."""
    for source in [HERE / "tsconfig.json", *(HERE / "client").glob("*.ts")]:
        shutil.copy(source, directory)
    (directory / "package.json").write_text('{"type": "module"}')
    (directory / "node_modules").symlink_to(MODULES)
    for command in (
        ("openapi-typescript", document_url, "--output", "api.d.ts"),
        ("tsc", "--strict", "--noEmitOnError"),
    ):
        done = run(str(MODULES / ".bin" / command[0]), *command[1:], cwd=directory)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
    return directory / "out"
