"""``make chaos``: a load of jobs while everything is killed, frozen and restarted."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.far import Far
from tests.chaos.plan import make_plan
from tests.chaos.progress import told
from tests.chaos.scene import Chaos, parts_and_destinations
from tests.services.fixtures import new_state, remove
from tests.services.packages import Missing
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.services.state import State


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1_000_000))
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--pause", type=float, default=1.5, help="mean of the seconds between two faults")
    parser.add_argument("--local", action="store_true", help="without the cluster")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    state = new_state("chaos")
    try:
        far = None if arguments.local else start_far(state)
        return asyncio.run(run(arguments, far))
    finally:
        remove(state)


def start_far(state: State) -> Far | None:
    cluster = SlurmCluster(state)
    server = SshServer(state, cluster.environment)
    try:
        cluster.up()
        server.up()
    except Missing as missing:
        print(f"Without a cluster: {missing}", file=sys.stderr)
        return None
    return Far(cluster, server)


async def run(arguments: argparse.Namespace, far: Far | None) -> int:
    parts, destinations = parts_and_destinations(far is not None)
    plan = make_plan(
        arguments.seed,
        jobs=arguments.jobs,
        faults=arguments.faults,
        parts=parts,
        destinations=destinations,
        pause=arguments.pause,
        beyond_the_lease=True,
    )
    directory = Path(tempfile.mkdtemp(prefix=f"bartender-chaos-{arguments.seed}-"))
    chaos = Chaos(directory, plan, far, patience=600)
    began = time.monotonic()
    async with told(chaos.state):
        problems = await chaos.run()
    took = time.monotonic() - began
    print(
        f"{arguments.jobs} jobs, {chaos.log.faults} faults, {chaos.away} requests without an answer or "
        f"with 503, in {took:.0f} s"
    )
    if problems:
        print(chaos.report(problems))
        return 1
    shutil.rmtree(directory)
    print("All is as promised.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
