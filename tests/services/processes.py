"""Processes as /proc shows them."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tests.waiting import LONG_ENOUGH

PROC = Path("/proc")


def wait_until(condition: Callable[[], bool], what: str, timeout: float = LONG_ENOUGH) -> None:
    end = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"Not within {timeout:.0f} s: {what}")
        time.sleep(0.02)


def identity(stat: str) -> tuple[int, int]:
    """The pid and the time of the start in a line of /proc/PID/stat: no two processes have the same."""
    return int(stat.split()[0]), int(stat.rpartition(")")[2].split()[19])


def same_process_lives(stat: str) -> bool:
    """Whether the process that this line was read of still runs; one that nobody has reaped does not."""
    pid, _ = identity(stat)
    now = read_stat(pid)
    return (
        now is not None and identity(now) == identity(stat) and now.rpartition(")")[2].split()[0] not in "ZX"
    )


def read_stat(pid: int) -> str | None:
    try:
        return (PROC / str(pid) / "stat").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None


def pids() -> Iterator[int]:
    return (int(entry.name) for entry in PROC.iterdir() if entry.name.isdigit())


def of_user(uid: int) -> set[int]:
    found = set()
    for pid in pids():
        try:
            if (PROC / str(pid)).stat().st_uid == uid:
                found.add(pid)
        except OSError:
            continue
    return {pid for pid in found if lives(pid)}


def lives(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and same_process_lives(stat)


def children(pid: int) -> set[int]:
    stats = [stat for stat in map(read_stat, pids()) if stat is not None]
    return {identity(stat)[0] for stat in stats if int(stat.rpartition(")")[2].split()[1]) == pid}


def descendants(pid: int) -> set[int]:
    below = children(pid)
    return below.union(*(descendants(child) for child in below))


def holders(inodes: set[str]) -> set[int]:
    """Processes that have one of these sockets open."""
    wanted = {f"socket:[{inode}]" for inode in inodes}
    found = set()
    for pid in pids():
        try:
            if any(str(link.readlink()) in wanted for link in (PROC / str(pid) / "fd").iterdir()):
                found.add(pid)
        except OSError:  # the process or one of its files is gone
            continue
    return found


def connection_sockets(port: int) -> set[str]:
    """The near ends of connections that were accepted on this port of 127.0.0.1; the listener is not one."""
    rows = [line.split() for line in (PROC / "net/tcp").read_text().splitlines()[1:]]
    return {row[9] for row in rows if int(row[1].split(":")[1], 16) == port and row[3] != "0A"}


def unix_sockets(below: Path) -> set[str]:
    rows = [line.split(maxsplit=7) for line in (PROC / "net/unix").read_text().splitlines()[1:]]
    return {row[6] for row in rows if len(row) == 8 and row[7].startswith(f"{below}/")}


def members(group: Path) -> set[int]:
    """Processes in a control group and those below it."""
    return {int(pid) for file in group.rglob("cgroup.procs") for pid in file.read_text().split()}


def remove_group(group: Path) -> bool:
    """Whether it could be done; it cannot while a process in it is ending."""
    try:
        for directory, _, _ in os.walk(group, topdown=False):
            Path(directory).rmdir()
    except OSError:
        return False
    return True


def send(pids: Iterable[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue
