"""``make hosts``: 500 jobs while hosts are cut off for a while or for good, frozen and killed."""

import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path

from tests.hosts.network import why_not
from tests.hosts.scene import BOUNDED, FULL, Plan, running
from tests.services.packages import Missing


async def run(plan: Plan, directory: Path) -> list[str]:
    began = time.monotonic()
    async with running(directory, plan) as scene:
        problems = await scene.play()
    took = time.monotonic() - began
    print(
        f"{plan.jobs} jobs, {scene.visitor.refused} requests without an answer or with 503, in {took:.0f} s"
    )
    return problems


def main() -> int:
    if (reason := why_not()) is not None:
        print(f"Hosts of their own cannot be made here: {reason}", file=sys.stderr)
        return 2
    directory = Path(tempfile.mkdtemp(prefix="bartender-hosts-"))
    try:
        problems = asyncio.run(run(BOUNDED if "--bounded" in sys.argv else FULL, directory))
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 2
    if problems:
        print("\n".join(problems), f"What was written is in {directory}.", sep="\n")
        return 1
    shutil.rmtree(directory)
    print("All is as promised.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
