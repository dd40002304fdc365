"""What runs a job's command on its node, and what before it."""

from collections.abc import Callable

from flows.destinations.scheduler import Scheduler
from flows.disk.places import Place
from tests.flows.submitting import run, statuses, submission
from tests.services.slurm import SlurmCluster

Make = Callable[..., Scheduler]


async def test_commands_run_in_bash(make: Make, cluster: SlurmCluster, place: Place) -> None:
    """Where the node has one; `shell` names another one."""
    command = "[[ $0 == */command ]] && source ./env.sh && echo $A ${BASH_VERSION:+bash}"
    for options, said in (({}, "1 bash\n"), ({"shell": "/bin/bash --posix"}, "1 bash\n")):
        job = submission(place, command)
        (job.directory / "env.sh").write_text("A=1\n")
        scheduler = make(**options)
        assert (await statuses(scheduler, await scheduler.submit(job)))[-1].returncode == 0
        assert (job.directory / "stdout.txt").read_text() == said
    end, directory = await run(make(shell="/bin/sh -u"), place, "echo $no_such_variable")
    assert (end.returncode or 0) > 0
    assert "no_such_variable" in (directory / "stderr.txt").read_text()


async def test_a_node_without_bash(make: Make, cluster: SlurmCluster, place: Place) -> None:
    """Its PATH has none."""
    (place.job_root / "bin").mkdir(parents=True)
    for name in ("ln", "rm", "mv", "readlink", "sleep", "ls"):
        (place.job_root / "bin" / name).symlink_to(f"/bin/{name}")
    scheduler = make(extra_options=[f"--export=PATH={place.job_root}/bin"])
    end, directory = await run(scheduler, place, "echo ${BASH_VERSION:-none}; exit 3")
    assert end.returncode == 3
    assert (directory / "stdout.txt").read_text() == "none\n"


async def test_lines_of_setup_go_before_the_command(make: Make, cluster: SlurmCluster, place: Place) -> None:
    setup = ["module() { export LOADED=$2; }", "module load 'a tool'"]
    end, directory = await run(make(setup=setup), place, "sh -c 'echo $LOADED'; exit 4")
    assert end.returncode == 4
    assert (directory / "stdout.txt").read_text() == "a tool\n"
    end, directory = await run(make(setup=["exit 5"]), place, "echo ran >ledger")
    assert end.returncode == 5
    assert not (directory / "ledger").exists()


async def test_what_setup_exports_reaches_steps(make: Make, cluster: SlurmCluster, place: Place) -> None:
    """Also where the job begins without its submitter's environment: srun would then hand on nothing."""
    scheduler = make(setup=["export LOADED=tool"], extra_options=["--export=NONE"])
    end, directory = await run(scheduler, place, "srun sh -c 'echo $LOADED'")
    assert end.returncode == 0
    assert (directory / "stdout.txt").read_text() == "tool\n"
