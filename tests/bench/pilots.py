"""Jobs on a pilot beside a server."""

import asyncio
import statistics
import tempfile
import time
from pathlib import Path

from tests.bench.measuring import row, running
from tests.bench.processes import proportional_memory
from tests.e2e.service import Service
from tests.pilots import Pilot

MORE = """
  lab:
    scheduler: {{type: pilot}}
    filesystem: {{type: local}}
destination_picker: {picker}:by_application
"""
PICKER = """
def by_application(job_dir, application_name, submitter, context):
    return "lab" if application_name == "script" else "local"
"""
SCRIPT = {"script.sh": "date +%s.%N\n"}

SETTLING = 20.0


async def pilots(jobs: int) -> None:
    """Show the seconds from the beginning of a submission until its command runs, by the command's clock."""
    with tempfile.TemporaryDirectory() as directory:
        picker = Path(directory, "picker.py")
        picker.write_text(PICKER)
        async with running(50, more=MORE.format(picker=picker)) as service:
            job = await service.submit(SCRIPT)
            await service.state_is(job, "queued")  # so the work pool is there
            pilot = Pilot(
                Path(directory, "pilot"), service.environment, "--work-pool", "lab", is_hasty=False
            ).start()
            try:
                await service.ended(job)
                seconds = sorted([await _until_it_runs(service) for _ in range(jobs)])
                await asyncio.sleep(SETTLING)
                memory = sum(proportional_memory(pilot.process.pid).values())
            finally:
                await asyncio.to_thread(pilot.end)
    spread = f"{seconds[0]:.2f} to {seconds[-1]:.2f} s"
    row("(n) submission to start on a pilot, median", f"{statistics.median(seconds):.2f} s ({spread})")
    row("(n) memory of a pilot at rest", f"{memory:.0f} MiB")


async def _until_it_runs(service: Service) -> float:
    await asyncio.sleep(0.5)  # one at a time, on a server that has nothing to do
    began = time.time()
    job = await service.submit(SCRIPT)
    await service.ended(job)
    return float((service.job_dir(job) / "stdout.txt").read_text()) - began
