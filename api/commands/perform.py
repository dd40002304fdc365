"""``bartender perform``: a pilot. ``bartender pilot-script``: what starts one elsewhere."""

import os
import re
import socket
from collections.abc import Sequence
from pathlib import Path

from deployments.pilot.pilot import PilotSettings, run, time_left_of_slurm
from flows.errors import ConfigurationError


def perform(
    *,
    config: Path,
    destinations: Sequence[str],
    pools: Sequence[str],
    max_jobs: int | None,
    name: str | None,
    directory: Path,
    idle_timeout: float | None,
    time_left: float | None,
    end_commands: bool,
    api_url: str | None,
) -> None:
    """Run a pilot of these destinations of the configuration file, and of these work pools without any."""
    slots = dict.fromkeys(pools, max_jobs or 1)
    if destinations or not pools:
        slots |= _of_destinations(config, destinations, max_jobs)
    called = name or socket.gethostname()
    if not re.fullmatch(r"[\w-][\w.-]*", called):
        raise ConfigurationError(f"--name {called!r}: use letters, digits and - . _")
    run(
        PilotSettings(
            name=called,
            directory=(directory / "pilots" / called).absolute(),
            pools=slots,
            idle_timeout=idle_timeout,
            time_left=time_left_of_slurm() if time_left is None else time_left,
            end_commands=end_commands,
            api_url=api_url,
            pilot_key=os.environ.get("BARTENDER_PILOT_KEY"),
        )
    )


def _of_destinations(config: Path, names: Sequence[str], max_jobs: int | None) -> dict[str, int]:
    """Return the work pools of destinations, and how many jobs of each may run at once; all without names."""
    from flows.configuration.config import load  # a pilot that is told its work pools needs no such file

    found = load(config).destinations
    slots = {}
    for name in names or found:
        if name not in found:
            raise ConfigurationError(
                f"{config}: destinations.{name} is missing: add it, or correct --destination"
            )
        keys = found[name].scheduler.config
        if hasattr(keys, "pool") and hasattr(keys, "max_jobs"):
            slots[keys.pool(name)] = max_jobs or keys.max_jobs
        elif names:
            raise ConfigurationError(
                f"{config}: destinations.{name} has the scheduler {found[name].scheduler.type_name}, which "
                "needs no pilots"
            )
    if not slots:
        raise ConfigurationError(f"{config}: no destination has the scheduler pilot: add one")
    return slots


SLURM_SCRIPT = """\
#!/bin/sh
#SBATCH --job-name=bartender-pilot
#SBATCH --cpus-per-task={cpus}
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@60
# Submit it as often as you want pilots: sbatch pilot.sh, or sbatch --array=1-10 pilot.sh.
# Pilots share nothing but the work pool. Each ends when it was idle for {idle_timeout} s or its time is over.

# Where the Prefect server is. The login is read from a file that is yours alone (chmod 600), because the
# environment of jobs can be read by others on many clusters:
#   export PREFECT_API_URL=https://prefect.example.org/api
#   export PREFECT_API_AUTH_STRING=user:password
. "${{BARTENDER_PILOT_ENV:-$HOME/.bartender-pilot.env}}"

exec {bartender} perform --work-pool {pool} --max-jobs {max_jobs} \\
    --name "slurm-${{SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}}-${{SLURM_ARRAY_TASK_ID:-0}}" \\
    --directory "${{TMPDIR:-/tmp}}/bartender-$(id -u)" --idle-timeout {idle_timeout} --end-commands
"""


def slurm_script(*, pool: str, max_jobs: int, idle_timeout: float, bartender: str) -> str:
    """Return a batch script for sbatch that starts a pilot."""
    return SLURM_SCRIPT.format(
        pool=pool, max_jobs=max_jobs, cpus=max_jobs, idle_timeout=f"{idle_timeout:g}", bartender=bartender
    )
