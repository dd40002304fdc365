"""Whose output is read while it is written."""

from pathlib import Path

import pytest

from api.live.following import is_written_here
from flows.configuration.config import load
from tests import howto
from tests.api.conftest import Site
from tests.api.live.following import running_job


@pytest.mark.parametrize("here", [True, False])
async def test_a_filesystem_of_ones_own_says_whether_files_are_here(
    site: Site, tmp_path: Path, here: bool
) -> None:
    file = howto.write("new-filesystem.md", tmp_path)
    said = "files_are_here: ClassVar[bool] = "
    file.write_text(file.read_text().replace(f"{said}False", f"{said}{here}"))
    filesystem = "{type: 'scratch.py:Filesystem', directory: /scratch}"
    (path := tmp_path / "config.yaml").write_text(
        "applications: {a: {command_template: a}}\n"
        f"destinations: {{x: {{scheduler: {{type: memory}}, filesystem: {filesystem}}}}}"
    )
    job, _ = await running_job(site, "x")
    assert is_written_here(job, load(path)) is here
