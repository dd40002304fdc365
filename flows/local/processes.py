"""Processes of this machine, and the sessions that they lead. Linux only: ends are learned from pidfds."""

import asyncio
import errno
import functools
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

logger = logging.getLogger(__name__)

TERMINATION_GRACE = 3.0
"""Seconds that a command has after SIGTERM before SIGKILL."""

_KILLING_SECONDS = 10.0
_LOOK_INTERVAL = 0.02

Leader = tuple[int, int | None]
"""Process id and start time of who leads a session, as for ``exit_of``."""


def is_shortage(error: OSError) -> bool:
    """Whether the machine cannot look just now: it says nothing of what was to be looked at."""
    return error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


@functools.cache
def boot_id() -> str:
    """Return what tells this boot of the machine from others; process ids and start times are of one boot."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


async def exit_of(pid: int, start_time: int | None) -> None:
    """Wait for the end of a process; return at once when it is not the one that started then.

    ``start_time`` is in clock ticks since boot (proc(5), stat field 22); None for a child of ours.
    """
    try:
        descriptor = os.pidfd_open(pid) if pid else None
    except ProcessLookupError:
        return
    if descriptor is None:
        return
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    try:
        # Only now: a pid that was reused before cannot be mistaken, and none is reused while we hold it.
        if start_time is not None and not is_alive(pid, start_time):
            return
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)


def is_alive(pid: int, start_time: int) -> bool:
    """Whether the process that started then is there and has not ended."""
    fields = _status(pid)
    return bool(fields) and fields[0] not in "ZX" and int(fields[19]) == start_time


def _status(pid: int) -> list[str]:
    """Return the fields of proc(5)'s stat from the third on: state, parent, group, session, ..."""
    try:
        # The second field, the name in parentheses, may hold spaces.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return []


async def end_session(leader: Leader | None, mark: str) -> None:
    """End the processes of a session, and those that left it: ``mark``, NAME=value, is in their environment.

    All have the grace, whichever ends first; only the leader is not told but killed, when it is alone.
    Returns when none is left that still runs; one that has ended may still wait for its parent to notice.
    OSError when this machine is short of what is needed to look.
    """
    for number, patience in ((signal.SIGTERM, TERMINATION_GRACE), (signal.SIGKILL, _KILLING_SECONDS)):
        with suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await _end_all(leader, mark, number)
                if number == signal.SIGKILL:
                    return
    logger.error("Processes of session %s, %s, do not end", leader, mark)


async def _end_all(leader: Leader | None, mark: str, number: signal.Signals) -> None:
    told: set[int] = set()
    looks_without = 0
    # Twice without any: one may start another after /proc was listed and end before it is looked at.
    while looks_without < 2:
        members = await asyncio.to_thread(_signal, leader, mark, number, told)
        looks_without = 0 if members else looks_without + 1
        # Killed again and again: a process may fork while it is looked at. But it hears of its end once.
        told = set() if number == signal.SIGKILL else told | members
        if members:
            await asyncio.sleep(_LOOK_INTERVAL)


def _signal(leader: Leader | None, mark: str, number: signal.Signals, told: set[int]) -> set[int]:
    """Send the signal to all members that were not told; return all that there are."""
    session = None if leader is None or _is_reused(*leader) else leader[0]
    members = set()
    for pid in _all():
        with _unless_gone(), _held(pid) as descriptor:
            if (pid != session or number == signal.SIGKILL) and _is_member(pid, session, mark):
                members.add(pid)
                if pid not in told:
                    signal.pidfd_send_signal(descriptor, number)
    return members


def is_any_alive(mark: str) -> bool:
    """Whether any process has ``mark``, NAME=value, in its environment.

    OSError when this machine is short of what is needed to look.
    """
    for pid in _all():
        with _unless_gone():
            if _is_member(pid, None, mark):
                return True
    return False


def _all() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 - many, quickly


def _is_reused(pid: int, start_time: int | None) -> bool:
    """Whether another process has the number by now, and with it the session."""
    fields = _status(pid)
    return start_time is not None and bool(fields) and int(fields[19]) != start_time


@contextmanager
def _unless_gone() -> Iterator[None]:
    """Pass over a process that has ended or is somebody else's, not over one that could not be looked at."""
    try:
        yield
    except OSError as error:
        if is_shortage(error):
            raise


@contextmanager
def _held(pid: int) -> Iterator[int]:
    """Keep the pid from being used for another process."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_member(pid: int, session: int | None, mark: str) -> bool:
    fields = _status(pid)
    if not fields or fields[0] in "ZX":
        return False
    if int(fields[3]) == session:
        return True
    return mark.encode() in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
