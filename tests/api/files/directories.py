"""Directories of jobs with something in them."""

from pathlib import Path

from flows.jobs.job import Job
from tests.api.conftest import Site


async def job_with(site: Site, **files: bytes) -> tuple[Job, Path]:
    job = await site.ended_job(files)
    return job, site.job_dir(job)


def make_links(directory: Path) -> None:
    (directory.parent / "secret").write_text("secret")
    (directory.parent / "elsewhere").mkdir()
    (directory.parent / "elsewhere" / "file").write_text("secret")
    (directory / "real").mkdir()
    (directory / "real" / "file").write_text("mine")
    (directory / "real" / "deep").mkdir()
    links = {
        "to_file": "real/file",
        "to_directory": "real",
        "real/up": "../real/./deep/../file",
        "real/deep/top": "../..",
        "absolute": f"{directory}/real/file",
        "chain": "to_directory/up",
        "out": "../secret",
        "out_absolute": "/etc/passwd",
        "out_directory": "../elsewhere",
        "out_and_back": f"../{directory.name}/real/file",
        "out_of_the_top": "../real/file",
        "out_by_prefix": f"{directory}/../secret",
        "out_by_name": f"{directory}0/x",
        "root": "/",
        "self": "self",
        "ping": "pong",
        "pong": "ping",
        "dangling": "nowhere",
        "through_file": "real/file/../file",
        "here": ".",
    }
    for name, target in links.items():
        (directory / name).symlink_to(target)
