"""A server of any checkout: what is known of it goes by HTTP, its files for operators, and /proc."""

import subprocess
from pathlib import Path

import httpx

from tests.bench.checkouts import Checkout
from tests.e2e.service import Service


class Served(Service):
    """As the tests have it, but for what that takes from the code of this checkout."""

    def __init__(self, directory: Path, config: str, checkout: Checkout) -> None:
        super().__init__(directory, config)
        self._checkout = checkout
        self.python = checkout.python

    def operators_environment(self) -> dict[str, str]:
        return {**super().operators_environment(), "PYTHONPATH": str(self._checkout.path)}

    async def _is_ready(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise AssertionError(f"the server does not start: {self.log()}")
        return (self.data_dir / "environment").exists() and await self.is_healthy()

    @property
    def environment(self) -> dict[str, str]:
        """What a shell has after it has sourced the file that is for that."""
        script = ". ./environment && env -0"
        output = subprocess.run(
            ["sh", "-c", script],
            cwd=self.data_dir,
            env={"PATH": "/usr/bin:/bin"},
            capture_output=True,
            check=True,
        ).stdout.decode()
        variables = dict(line.split("=", 1) for line in output.split("\0") if line)
        return {
            name: value for name, value in variables.items() if name.startswith(("PREFECT_", "BARTENDER_"))
        }

    async def is_healthy(self) -> bool:
        try:
            return (await self.client.get("/api/health")).status_code == 200
        except httpx.TransportError:
            return False
