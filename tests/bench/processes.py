"""What a server and all that it started use, as the kernel counts it."""

import os
from collections.abc import Mapping
from pathlib import Path

MIB = 1 << 20

PARTS = {
    "serve": ("api serve", "api demo"),
    "api": ("api.app:",),
    "worker": ("api worker",),
    "prefect": ("prefect_process", "prefect.server"),
    "postgres": ("postgres",),
}
"""By what a command line has in it; the first that fits. Whatever else is there belongs to jobs."""

COMMANDS = "commands"


def pids(root: int) -> list[int]:
    return list(_parts(root))


def pids_of(root: int, part: str) -> list[int]:
    return [pid for pid, its_part in _parts(root).items() if its_part == part]


def proportional_memory(root: int) -> dict[str, float]:
    """Return the MiB of each part, pages that processes share being counted once in all."""
    sizes: dict[str, float] = {}
    for pid, part in _parts(root).items():
        try:
            lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        size = next((int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:")), 0)
        sizes[part] = sizes.get(part, 0) + size / MIB
    return sizes


def cpu(root: int) -> dict[str, float]:
    """Return the CPU seconds of each part so far, those of processes that it has waited for included."""
    seconds: dict[str, float] = {}
    for pid, part in _parts(root).items():
        try:
            fields = _stat(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        ticks = sum(map(int, fields[11:15]))  # proc(5): utime, stime, cutime, cstime
        seconds[part] = seconds.get(part, 0) + ticks / os.sysconf("SC_CLK_TCK")
    return seconds


def used(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Return the differences; what ended in between is in whoever waited for it."""
    return {part: after[part] - before.get(part, 0) for part in after}


def shares(parts: Mapping[str, float], digits: int = 0) -> str:
    ordered = sorted(parts.items(), key=lambda item: -item[1])
    return ", ".join(f"{part} {value:.{digits}f}" for part, value in ordered)


def _parts(root: int) -> dict[int, str]:
    """Return the part that each process of the tree belongs to."""
    children: dict[int, list[int]] = {}
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            try:
                children.setdefault(int(_stat(int(process.name))[1]), []).append(int(process.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
    found: dict[int, str] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        found[pid] = _part(pid)
        waiting += children.get(pid, [])
    return found


def _part(pid: int) -> str:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return COMMANDS
    return next((part for part, words in PARTS.items() if any(w in command for w in words)), COMMANDS)


def _stat(pid: int) -> list[str]:
    """Return the fields of proc(5) from the third on: the state."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
