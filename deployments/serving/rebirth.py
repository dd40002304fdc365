"""What a process that was forked off does to be like a program that was started anew."""

import atexit
import ctypes
import fcntl
import logging
import os
import runpy
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

import setproctitle

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PARENT_SECONDS = 10.0


def adopt_orphans(wanted: bool) -> None:
    """Become the parent of those below whose own parent ends, or do not any more."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


def let_go_of_all_but(kept: Collection[int]) -> None:
    """Have nothing more to do with the open files of the process that we were.

    Their numbers stay in use, lest objects of that process close what is opened later.
    """
    nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 - only names are wanted
        if number in {nothing, *kept}:
            continue
        with suppress(OSError):  # of the directory itself, which is closed by now
            fcntl.fcntl(number, fcntl.F_GETFD)
            os.dup2(nothing, number, inheritable=False)
    os.close(nothing)


def forget_signals() -> None:
    """Let signals do what they do in a new process."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals():
        if callable(signal.getsignal(number)):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)


def remember_where_the_name_is() -> None:
    """Find the memory that lists of processes show, which is of no use once the environment has changed."""
    setproctitle.getproctitle()


def take_on(environment: Mapping[str, str], command: Sequence[str]) -> None:
    """Have this environment, and be called by this command in lists of processes."""
    os.environ.clear()
    os.environ.update(environment)
    setproctitle.setproctitle(" ".join(command))


def write_to(log: Path | None) -> None:
    """Read nothing, and write to the log or else where the process that we were writes to."""
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.setLevel(logging.WARNING)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    if log is not None:
        output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)


def end_with(parent: int) -> None:
    """Wait until that process is our parent; be killed when it ends, from then on."""
    deadline = time.monotonic() + _PARENT_SECONDS
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(0.001)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def run_module(module: str, arguments: Sequence[str]) -> NoReturn:
    """Run a module as ``python -m`` does, and end the process as Python would."""
    sys.argv = [module, *arguments]
    warnings.filterwarnings("ignore", message=".*found in sys.modules", category=RuntimeWarning)
    status = 0
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # as Python itself
        traceback.print_exc()
        status = 1
    try:
        # What Python does at its end: our frames are those of another process, and must not go on.
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _prctl(option: int, argument: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(argument), *map(ctypes.c_ulong, (0, 0, 0))) != 0:
        raise OSError(ctypes.get_errno(), f"prctl({option})")
