"""What is promised holds where hosts vanish, freeze and are killed; all of it, for longer: ``make hosts``.

The servers of two hosts and cuts that have to be noticed take minutes, so it is a test of ``make test-long``.
"""

from pathlib import Path

import pytest

from tests.hosts.network import why_not
from tests.hosts.scene import BOUNDED, running
from tests.services.fixtures import skipped_where_missing
from tests.services.packages import Missing


@pytest.mark.long
async def test_every_job_ends_and_each_command_runs_once(tmp_path: Path, pytestconfig: pytest.Config) -> None:
    with skipped_where_missing(pytestconfig):
        if (reason := why_not()) is not None:
            raise Missing(f"Hosts of their own cannot be made here: {reason}")
        async with running(tmp_path, BOUNDED) as scene:
            assert await scene.play() == []
