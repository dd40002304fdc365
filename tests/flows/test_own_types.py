"""Whole jobs through a scheduler and a filesystem of a site's own, which are those of the how-tos."""

import os
import tomllib
import uuid
from pathlib import Path

import pytest

from flows.configuration.config import Config, load
from flows.database.pool import Pool
from flows.disk.places import Place
from flows.jobs.job import Job
from flows.lifecycle.runtime import open_runtime
from flows.pickers import pick_first
from tests import howto
from tests.all_jobs import AllJobs
from tests.flows.running import new_job, run

pytestmark = pytest.mark.usefixtures("prefect_server")


def configured(directory: Path, destinations: str) -> Config:
    path = directory / "config.yaml"
    path.write_text("applications: {a: {command_template: any}}\n" + destinations)
    return load(path)


async def ran(pool: Pool, directory: Path, config: Config) -> tuple[Job, Path]:
    """Run a job and return how it ended, and its directory."""
    place = Place(directory / "data", directory / "jobs")
    async with open_runtime(AllJobs(pool), config, place, pick_first) as runtime:
        job, _ = await run(runtime, await new_job(runtime, "cat input; nice; exit 3"))
        return job, place.job_dir(job.id)


def is_as_the_command_left_it(job: Job, directory: Path, niceness: int) -> None:
    assert (job.state, job.reason_kind) == ("error", "user error")
    assert (directory / "stdout.txt").read_text() == f"1{min(os.nice(0) + niceness, 19)}\n"
    assert (directory / "returncode").read_text() == "3"
    assert [path.name for path in directory.parent.iterdir()] == [directory.name]


async def test_word_for_word(pool: Pool, tmp_path: Path) -> None:
    howto.write("new-scheduler.md", tmp_path)
    config = configured(tmp_path, howto.block("new-scheduler.md", "yaml"))
    is_as_the_command_left_it(*await ran(pool, tmp_path, config), niceness=15)


async def test_a_type_says_who_sees_its_commands(pool: Pool, tmp_path: Path) -> None:
    file = howto.write("new-scheduler.md", tmp_path)
    anywhere = "commands_are_here: ClassVar[bool] = False"
    file.with_name("away.py").write_text(
        file.read_text().replace("commands_are_here: ClassVar[bool] = True", anywhere)
    )
    parts = "{scheduler: {type: '%s.py:Scheduler'}, filesystem: {type: local}}"
    config = configured(tmp_path, f"destinations: {{here: {parts % 'nice'}, there: {parts % 'away'}}}")
    async with open_runtime(AllJobs(pool), config, Place(tmp_path, tmp_path), pick_first) as runtime:
        assert runtime.local_destinations == ["here"]


async def test_with_a_filesystem_of_ones_own(pool: Pool, tmp_path: Path) -> None:
    howto.write("new-scheduler.md", tmp_path)
    howto.write("new-filesystem.md", tmp_path)
    (scratch := tmp_path / "scratch").mkdir()
    text = howto.block("new-filesystem.md", "yaml").replace("/scratch/bartender", str(scratch))
    config = configured(tmp_path, text.replace("type: slurm", "type: nice.py:Scheduler"))
    is_as_the_command_left_it(*await ran(pool, tmp_path, config), niceness=10)
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("kind", ["{package}.nice:Scheduler", "nice"])
async def test_from_an_installed_package(
    pool: Pool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    packages, package = tmp_path / "packages", f"site_{uuid.uuid4().hex}"
    howto.write("new-scheduler.md", packages / package)
    install(packages, package, howto.block("new-scheduler.md", "toml").replace("mysite", package))
    monkeypatch.syspath_prepend(str(packages))
    scheduler = f"{{type: '{kind.format(package=package)}', niceness: 7}}"
    filesystem = "{type: local}"
    config = configured(
        tmp_path, f"destinations: {{x: {{scheduler: {scheduler}, filesystem: {filesystem}}}}}"
    )
    is_as_the_command_left_it(*await ran(pool, tmp_path, config), niceness=7)


def install(packages: Path, package: str, pyproject: str) -> None:
    """Write down what an installer does of the entry points in a pyproject.toml."""
    [(group, names)] = tomllib.loads(pyproject)["project"]["entry-points"].items()
    about = packages / f"{package}-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    lines = [f"[{group}]", *(f"{name} = {where}" for name, where in names.items())]
    (about / "entry_points.txt").write_text("\n".join(lines))
