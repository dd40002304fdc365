"""Jobs that stop at points of their own, for one SIGKILL to hit them all there; see ``tests.e2e.held``."""

import subprocess

from tests.e2e.service import CHECKOUT, Service, until


class HeldJobs:
    """Their points. The worker that holds them has to be started after the last of them was named."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._directory = service.directory / "held"
        self._directory.mkdir()
        self.points: dict[int, str] = {}

    def hold(self, job_id: int, point: str) -> None:
        (self._directory / str(job_id)).write_text(point)
        self.points[job_id] = point

    def worker(self) -> subprocess.Popen[bytes]:
        """Start a worker that holds the jobs."""
        variables = {"HELD": str(self._directory), "PYTHONPATH": str(CHECKOUT)}
        return self._service.module("tests.e2e.held", "worker", variables=variables)

    async def all_are_there(self) -> None:
        """Wait until each job is at its point."""

        def missing() -> dict[int, str]:
            there = {int(path.stem) for path in self._directory.glob("*.there")}
            return {job_id: point for job_id, point in self.points.items() if job_id not in there}

        async def none_is_missing() -> bool:
            return not missing()

        try:
            await until(none_is_missing)
        except TimeoutError:
            raise AssertionError(f"not reached: {missing()}") from None
