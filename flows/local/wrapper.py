"""The shell that starts a command, waits for it and writes down how it ended, whoever of us lives by then."""

import subprocess
from collections.abc import Mapping

from flows.disk.places import RETURNCODE, STDERR, STDOUT
from flows.local.environment import MARK, SHELL, clean_environment
from flows.local.kept import Kept, restore

NOT_STARTED = 75
"""Exit status of a wrapper that could not begin, and never will: EX_TEMPFAIL of sysexits.h."""

# $0 is the shell, $1 the command's directory here, $2 the job's.
_WRAPPER = f"""
# Only who makes this directory gets further: a token is run once, whoever starts wrappers for it. Where it
# cannot be made and nobody else has made it, the command has not begun.
mkdir "$1/started" 2>/dev/null || {{ [ -d "$1/started" ] && exit 0; exit {NOT_STARTED}; }}
# A process id alone may be another process's by the time it is looked at. With the start time it cannot be:
# that is field 22 of proc(5)'s stat, thus $24 here. Field 2, our name, has no blanks: it is the shell's.
read -r stat </proc/$$/stat
set -- "$1" "$2" $stat
# The disk may be full by now: written over what fills the room's file, which is not truncated (1<>). Moved
# then, since nobody must see a part of it. The blank ends the number before what is left of the filling.
printf '%s %s ' $$ ${{24}} 1<>"$1/room/process" && mv "$1/room/process" "$1/process" || exit {NOT_STARTED}
# Who ends a command writes why before they look for its process: either they find ours, or we find that.
[ ! -e "$1/failure" ] || exit 0
# All of the session get SIGTERM when it is ended. The command has its grace then, and we have to outlive it.
# Caught, not ignored: what is ignored here would be so in the command, too.
trap : TERM
if cd "$2"; then
    # A file, since no argument may be as long as a command.
    "$0" "$1/command" >{STDOUT} 2>{STDERR} </dev/null
    code=$?
    # For the visitor, whose command may write there, too. The one that counts is in our directory.
    echo -n $code >{RETURNCODE}
else
    code=127
fi
# Somebody ends the command. They wait for the rest of the session, which has its grace, and kill us last:
# while we live, the session's number is nobody else's. A child that sleeps would be one of the rest, and we
# would go on below; so we become the sleep. A minute is longer than any grace, should they have died.
[ ! -e "$1/failure" ] || exec sleep 60
printf '%s ' $code 1<>"$1/room/returncode" && mv "$1/room/returncode" "$1/returncode"
# What the command left running ends now, and we with it.
kill -9 0
"""


def start(kept: Kept, environment: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the wrapper of a command that can be run. OSError when the machine cannot just now."""
    submission = restore(kept)
    return subprocess.Popen(
        [SHELL, "-c", _WRAPPER, SHELL, kept.directory, submission.directory],
        cwd="/",
        env=clean_environment({**environment, MARK: submission.token}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
