"""Faults at their planned times, and the log of them."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.chaos.parts import Part
from tests.chaos.plan import PlannedFault


@dataclass
class FaultLog:
    """Lines with the seconds since the start."""

    path: Path
    began: float = field(default_factory=time.monotonic)
    faults: int = 0
    last: str = "the server starts"

    def write(self, text: str) -> None:
        self.last = text.strip()
        clock = time.strftime("%H:%M:%S")
        with self.path.open("a") as file:
            file.write(f"{time.monotonic() - self.began:7.2f} {clock} {text}\n")

    def read(self) -> str:
        return self.path.read_text() if self.path.exists() else ""


async def inject(faults: list[PlannedFault], parts: Mapping[str, Part], log: FaultLog) -> None:
    """Return once all have happened and everything is there again."""
    try:
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                group.create_task(_inject(fault, parts[fault.part], log))
    finally:
        for name, part in parts.items():
            log.write(f"bring back {name}")
            await part.bring_back()


async def _inject(fault: PlannedFault, part: Part, log: FaultLog) -> None:
    await asyncio.sleep(max(0.0, log.began + fault.at - time.monotonic()))
    what = f"{fault.what} {fault.part} ({fault.seconds:g} s)"
    log.write(what)
    done = await getattr(part, fault.what)(fault.seconds)
    log.faults += 1
    log.write(f"  over: {what}: {done}")
