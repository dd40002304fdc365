"""The bounded form of `make chaos`."""

from pathlib import Path

import pytest

from tests.chaos.far import Far
from tests.chaos.plan import make_plan
from tests.chaos.scene import Chaos, parts_and_destinations

SEED = 7


async def test_every_job_ends_well_whatever_is_killed(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    far = cluster_if_there_is_one(request)
    parts, destinations = parts_and_destinations(far is not None)
    plan = make_plan(
        SEED, jobs=30, faults=12, parts=parts, destinations=destinations, pause=1.5, beyond_the_lease=False
    )
    chaos = Chaos(tmp_path, plan, far, patience=300)
    problems = await chaos.run()
    assert not problems, chaos.report(problems)
    assert chaos.log.faults == 12


def cluster_if_there_is_one(request: pytest.FixtureRequest) -> Far | None:
    try:
        return Far(request.getfixturevalue("slurm_cluster"), request.getfixturevalue("ssh_server"))
    except pytest.skip.Exception:
        return None  # the end of the test run says so
