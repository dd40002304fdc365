"""Start a command that ends when we end and, for root, that runs as an unprivileged user.

Between fork and exec a process must set what only it can set for itself. This file does so in a process of
its own, run by its path and isolated: it starts in milliseconds and imports nothing of ours. Elsewhere than
on Linux, where none of this exists, commands are started as they are.
"""

import contextlib
import ctypes
import os
import pwd
import signal
import sys
from collections.abc import Sequence

_PR_SET_PDEATHSIG = 1
_PR_SET_KEEPCAPS = 8
_PR_SET_SECUREBITS = 28
_SECBIT_NO_SETUID_FIXUP = 1 << 2
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_RAISE = 2
_CAPABILITY_VERSION_3 = 0x20080522
_CAP_DAC_OVERRIDE = 1
_FALLBACK_ID = 65534


def wrap(command: Sequence[str], *, death_signal: signal.Signals, unprivileged: bool = False) -> list[str]:
    """Return the command that starts ``command`` and sends it ``death_signal`` when this process dies.

    The kernel takes the *thread* that starts it for the parent: start it from one that lasts.
    ``unprivileged`` makes it run as the user nobody, who may still read and write any file: so it reaches
    directories that are root's alone while other processes of nobody do not. Only root can ask for that.
    """
    if sys.platform != "linux":
        return list(command)
    user = "nobody" if unprivileged else "same"
    isolated = [sys.executable, "-I", "-S", __file__]
    return [*isolated, str(os.getpid()), str(int(death_signal)), user, *command]


def _call(function: str, *arguments: object) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, function)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{function}{arguments[:2]}: {os.strerror(number)}")


def _prctl(option: int, *arguments: int) -> None:
    _call("prctl", option, *(ctypes.c_ulong(argument) for argument in (*arguments, 0, 0, 0, 0)[:4]))


def unprivileged_ids() -> tuple[int, int]:
    """Return the user and group id of nobody."""
    try:
        entry = pwd.getpwnam("nobody")
    except KeyError:
        return _FALLBACK_ID, _FALLBACK_ID
    return entry.pw_uid, entry.pw_gid


def _become_nobody() -> None:
    uid, gid = unprivileged_ids()
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    # PostgreSQL looks for its own programs by access(2), which leaves out the capabilities of any real user
    # but root unless this bit is set (capabilities(7)). It takes CAP_SETPCAP, which not every container has.
    with contextlib.suppress(PermissionError):
        _prctl(_PR_SET_SECUREBITS, _SECBIT_NO_SETUID_FIXUP)
    _prctl(_PR_SET_KEEPCAPS, 1)
    os.setresuid(uid, uid, uid)
    bit = 1 << _CAP_DAC_OVERRIDE
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    sets = (ctypes.c_uint32 * 6)(bit, bit, bit, 0, 0, 0)  # effective, permitted, inheritable; low words first
    _call("capset", header, sets)
    # An ambient capability is the only kind that survives exec of an ordinary file.
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_RAISE, _CAP_DAC_OVERRIDE)


def main(arguments: Sequence[str]) -> None:
    """Become ``command``: arguments are our parent's id, a signal number, ``nobody`` or ``same``, command."""
    parent, death_signal, user, *command = arguments
    if user == "nobody":
        _become_nobody()
        if not os.access(command[0], os.X_OK):
            sys.exit(
                f"the user nobody cannot reach {command[0]}: install below directories that everybody may "
                "enter, or let this process have CAP_SETPCAP"
            )
    # After the change of user, which would clear it.
    _prctl(_PR_SET_PDEATHSIG, int(death_signal))
    if os.getppid() != int(parent):
        sys.exit("The process that starts this command is gone.")
    os.execv(command[0], command)  # noqa: S606 - to become the command, without a shell, is the purpose


if __name__ == "__main__":
    main(sys.argv[1:])
