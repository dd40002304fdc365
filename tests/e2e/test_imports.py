"""What the processes of a running server have not imported: it would cost each start, and memory for ever."""

from pathlib import Path

from tests.e2e.service import CHECKOUT, PARTS, Service

README = {"README.md": "one two three\n"}


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
        """Return the packages that the one process with these words in its command has imported."""
        notes = [file.read_text().splitlines() for file in self._directory.iterdir()]
        [names] = [names for its_command, *names in notes if command in its_command]
        return {name.partition(".")[0] for name in names}


async def test_only_the_worker_needs_prefect(tmp_path: Path) -> None:
    imports = Imports(tmp_path / "imports")
    service = await Service(tmp_path).start(**imports.variables)
    try:
        await service.ended(await service.submit(README, "wc"))
        (await service.client.get("/api/openapi.json")).raise_for_status()
    finally:
        await service.stop()
    assert "prefect" in imports.of(PARTS["worker"])
    assert not {"prefect", "asyncssh"} & imports.of(PARTS["api"])
    assert not {"prefect", "asyncssh", "fastapi"} & imports.of("api serve")
