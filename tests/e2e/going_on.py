"""Jobs that have to go on while something is away."""

from tests.e2e.conftest import job_runs, prefect_client
from tests.e2e.service import Service, appears, until

RUNS_UNTIL_GO = "echo ran >>ledger; while [ ! -e go ]; do sleep 0.05; done; echo done"


async def running(service: Service, number: int) -> list[int]:
    jobs = [await service.run(RUNS_UNTIL_GO) for _ in range(number)]
    for job_id in jobs:
        await service.state_is(job_id, "running")
        await appears(service.job_dir(job_id) / "ledger")
    return jobs


async def assert_go_on(service: Service, jobs: list[int]) -> None:
    for job_id in jobs:
        (service.job_dir(job_id) / "go").touch()
    for job_id in jobs:
        assert (await service.ended(job_id))["state"] == "ok"
        assert (service.job_dir(job_id) / "ledger").read_text() == "ran\n"
        assert (service.job_dir(job_id) / "stdout.txt").read_text() == "done\n"
    async with prefect_client(service) as prefect:

        async def all_completed() -> bool:
            runs = [run for run in await job_runs(prefect) if run.parameters["job_id"] in jobs]
            return len(runs) == len(jobs) and all(run.state and run.state.is_completed() for run in runs)

        await until(all_completed)
    assert not [path for path in service.data_dir.glob("commands/*/*/*") if len(path.name) > 30]
