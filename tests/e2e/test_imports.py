"""What the processes of a running server have not imported: it would cost each start, and memory for ever."""

from pathlib import Path

from tests.e2e.service import CHECKOUT, PARTS, Service

README = {"README.md": "one two three\n"}

HEAVY = {"prefect", "asyncssh", "httpx", "rich", "alembic", "mako", "jsonschema", "sqlalchemy.orm"}


class Imports:
    """By process, in the directory where each writes down its own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir()

    @property
    def variables(self) -> dict[str, str]:
        path = [str(CHECKOUT / "tests/e2e/importing"), str(CHECKOUT)]
        return {"IMPORTS": str(self._directory), "PYTHONPATH": ":".join(path)}

    def of(self, command: str) -> set[str]:
        """Return the modules that the one process with these words in its command has imported."""
        of_processes = [
            [line.split("\t") for line in file.read_text().splitlines()] for file in self._directory.iterdir()
        ]
        [lines] = [lines for lines in of_processes if command in lines[-1][0]]
        return {name for _, name in lines} & {*HEAVY, "fastapi"}


async def test_only_what_is_needed(tmp_path: Path) -> None:
    imports = Imports(tmp_path / "imports")
    service = Service(tmp_path)
    await (await service.start(**imports.variables)).stop()  # the first time, tables are made
    for file in (tmp_path / "imports").iterdir():
        file.unlink()
    await service.start(**imports.variables)
    try:
        await service.ended(await service.submit(README, "wc"))
        (await service.client.get("/api/openapi.json")).raise_for_status()
        (await service.client.get("/api/docs")).raise_for_status()
    finally:
        await service.stop()
    assert "prefect" in imports.of(PARTS["worker"])
    assert imports.of(PARTS["api"]) == {"fastapi"}
    assert imports.of("api serve") == set()
