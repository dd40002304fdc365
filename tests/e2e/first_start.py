"""The databases of a server's first start, made once in a test run and copied: they take a third of a start.

From nothing begin `make demo` (test_private_directories.py) and a former version (test_upgrade.py).
"""

import asyncio
import fcntl
import shutil
import subprocess
from pathlib import Path

from deployments.serving.listening import listen
from deployments.serving.postgres import EmbeddedPostgres
from deployments.serving.prefect_server import EmbeddedPrefect
from flows.disk import private_files


class FirstStart:
    """``directory`` is the same for all processes of a test run: the first makes what all copy."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory / "first-start"
        self._finished = self._directory / "finished"

    async def give(self, data_dir: Path) -> None:
        """Make the data directory, with a PostgreSQL that has Prefect's tables; the server makes its own."""
        private_files.make_directory(self._directory)
        with (self._directory / "lock").open("w") as lock:
            await asyncio.to_thread(fcntl.flock, lock, fcntl.LOCK_EX)
            if not self._finished.exists():
                await self._make()
                self._finished.touch()
        private_files.make_directory(data_dir)
        copy = ["cp", "--archive", "--reflink=auto", str(self._directory / "postgres"), str(data_dir)]
        await asyncio.to_thread(subprocess.run, copy, check=True)
        private_files.make_directory(data_dir / "prefect")
        # Else its start waits for the tables.
        shutil.copy(self._directory / "prefect/version", data_dir / "prefect")

    async def _make(self) -> None:
        postgres = EmbeddedPostgres(self._directory / "postgres")
        with listen("127.0.0.1", 0, "") as listener:
            try:
                await postgres.start()
                prefect = EmbeddedPrefect(self._directory / "prefect", postgres, listener)
                try:
                    await prefect.start()
                    await prefect.wait_until_ready()
                finally:
                    await prefect.stop()
            finally:
                await postgres.stop()
