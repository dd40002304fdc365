"""The flow that cleans up, on a whole server: with a dry run first, and its table in Prefect's UI."""

import json
from typing import Any

import pytest
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey, TaskRunFilter
from prefect.client.schemas.filters import TaskRunFilterFlowRunId as OfFlowRun
from prefect.exceptions import ObjectNotFound

from tests.e2e.conftest import prefect_client
from tests.e2e.service import CONFIG, Service
from tests.e2e.upkeep_runs import deployed, ended, finished, message, start, unscheduled

RUNS_AT_ONCE = {"flow_runs_after_days": 0, "upkeep_runs_after_days": 0}
AT_ONCE = {"notice_days": 0, "leftovers_after_days": 0, **RUNS_AT_ONCE}


async def tables(prefect: PrefectClient) -> list[list[dict[str, Any]]]:
    found = await prefect.read_artifacts(
        artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=["clean-up"]))
    )
    return [json.loads(str(artifact.data)) for artifact in found]


async def test_jobs_and_runs_that_are_too_old(own_service: Service) -> None:
    service = own_service
    config = CONFIG.replace(
        "command_template: wc README.md", "command_template: wc README.md\n    retention_days: 0.00001"
    )
    (service.directory / "config.yaml").write_text(config)
    await service.start()
    async with prefect_client(service) as prefect, unscheduled(prefect, "clean-up"):
        expired, pinned = [await service.submit({"README.md": "x"}, "wc") for _ in range(2)]
        other = await service.run("true")
        going_on = await service.run("while [ ! -e go ]; do sleep 0.05; done")
        for job_id in (expired, pinned, other):
            assert (await service.ended(job_id))["state"] == "ok"
        await service.state_is(going_on, "running")
        await service.client.post(f"/api/job/{pinned}/pin")
        runs = [await finished(prefect, f"wc-{job_id}") for job_id in (expired, pinned)]

        dry = await start(prefect, "clean-up", dry_run=True, **AT_ONCE)
        dry = await ended(prefect, dry.id)
        assert message(dry).startswith("Completed: expired job: would be removed 1; old flow runs of ")
        [table] = await tables(prefect)
        assert table[0] == {"what": "expired job", "which": str(expired), "action": "would be removed"}
        assert await service.job(expired)
        await prefect.read_flow_run(runs[0].id)

        run = await start(prefect, "clean-up", **AT_ONCE)
        assert "expired job: removed 1" in message(await ended(prefect, run.id))
        assert (await service.client.get(f"/api/job/{expired}")).status_code == 404
        assert not service.job_dir(expired).exists()
        assert (await service.job(pinned))["pinned"]
        assert (await service.job(other))["expires_on"] is None
        for gone in (*runs, dry):
            with pytest.raises(ObjectNotFound):
                await prefect.read_flow_run(gone.id)
        of_runs = TaskRunFilter(flow_run_id=OfFlowRun(any_=[run.id for run in runs]))
        assert await prefect.read_task_runs(task_run_filter=of_runs) == []
        assert len(await tables(prefect)) == 1  # that of the dry run went with it
        (service.job_dir(going_on) / "go").touch()
        assert (await service.ended(going_on))["state"] == "ok"
        await finished(prefect, f"script-{going_on}")


async def test_nobody_elses_runs_are_removed(service: Service, prefect: PrefectClient) -> None:
    flow_id = await prefect.create_flow_from_name("of-somebody-else")
    answer = await prefect.request("POST", "/flow_runs/", json={"flow_id": str(flow_id), "name": "theirs"})
    theirs = answer.json()["id"]
    for state in ("RUNNING", "COMPLETED"):
        await prefect.request(
            "POST",
            "/flow_runs/{id}/set_state",
            path_params={"id": theirs},
            json={"state": {"type": state}, "force": True},
        )
    await deployed(prefect, "clean-up")
    run = await start(prefect, "clean-up", **RUNS_AT_ONCE)
    assert message(await ended(prefect, run.id)).startswith("Completed")
    assert (await prefect.read_flow_run(theirs)).state_name == "Completed"
