"""What runs at the cluster, and the command that submits it.

The guard, a directory beside the job's, holds what submissions and scripts have to know of each other::

    command      variables, set-up and the command, for the account's eyes only
    job          symbolic link to "<submission>.<id>": made by the first script that gets there
    returncode   of the command, once it has ended
    cancelled    made when the job is cancelled: no script begins from then on

It is made by the first submission, and removed with the job's files. So who makes it knows that nothing was
submitted before, or that all is over: a submission whose sender gave it up may come so late. Then the job's
directory has outputs, or is gone, in which no script begins; of a job that was cancelled before it began, the
guard stays. A script that comes when it is gone does nothing. A script that is run again, as by Slurm after a
preemption, finds its own note in ``job``; a second submission's finds another one and gives way.

A command that came to its end, by a signal of its own too, never runs again, though the batch system may have
forgotten the end of its script. One that the batch system ended runs again if that wants it: there is no
return code then, since the script is ended too. That may be a moment later, so a script waits for it after a
command that a signal ended.
"""

import shlex
from dataclasses import dataclass

from flows.disk.places import RETURNCODE, STDERR, STDOUT
from flows.errors import DestinationRefused

NOT_SUBMITTED = "cancelled"

OWN_SIGNAL_AFTER = 3
"""Seconds that a script outlives a command that a signal ended before that was no signal to both."""

# The submission is in the note too, because the id of a job that was lost can be given to another one.
_SCRIPT = """#!/bin/sh
guard={guard}
note={submission}."${id_variable}"
[ -f "$guard/command" ] || exit {unable}
ln -s "$note" "$guard/job" 2>/dev/null || [ "$(readlink "$guard/job")" = "$note" ] || exit 0
[ ! -e "$guard/cancelled" ] || exit 0
if [ -e "$guard/returncode" ]; then
    read -r code <"$guard/returncode"
    exit {last}
fi
cd {directory} || exit {unable}
rm -f {returncode}
{surroundings}{shell}
"$@" "$guard/command" >{stdout} 2>{stderr} </dev/null
code=$?
[ "$code" -le 128 ] || sleep {own_signal_after}
printf %s "$code" >{returncode}
echo "$code" >"$guard/returncode.new" && mv "$guard/returncode.new" "$guard/returncode"
exit {last}
"""

_BASH = 'set -- "$(command -v bash || echo /bin/sh)"'

# The protocol of a submission; RestCluster.submit in flows.slurm.by_rest keeps the same one for slurmrestd,
# and changes with it. What comes over the connection is counted, since a part of it may be all that arrives.
# The script is in the command line: it is there as a whole or not at all.
_SUBMIT = """umask 077
if mkdir {guard} 2>/dev/null; then
    if [ -e {directory}/{stdout} ]; then
        rmdir {guard}
        echo 'it has begun before' >&2
        exit {incomplete}
    fi
else
    [ ! -e {guard}/cancelled ] || {{ echo cancelled; exit; }}
{find}
    [ "$jobs" ] || jobs=$(readlink {guard}/job | sed 's/.*[.]//')
    [ ! "$jobs" ] || {{ echo $jobs; exit; }}
fi
cat >{guard}/{submission} && [ "$(wc -c <{guard}/{submission})" -eq {size} ] || exit {incomplete}
mv {guard}/{submission} {guard}/command || exit {incomplete}
{submit} <<'{end}' || exit
{script}{end}
"""

INCOMPLETE = 74
"""Exit status of the command when the job's command could not be written down: EX_IOERR of sysexits.h."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command line for the host, and what it reads."""

    command: str
    input: bytes


@dataclass(frozen=True, slots=True)
class Running:
    """How a batch system runs scripts.

    ``id_variable`` has the job's id. ``surroundings`` are lines before the command. Without ``tells_code``
    the script ends with 0 whatever becomes of the command, since codes mean something else there.
    """

    id_variable: str
    surroundings: str = ""
    tells_code: bool = True


def submission(
    *, submit: str, find: str, guard: str, directory: str, submission: str, command: bytes, script: str
) -> Order:
    """Make the order that submits a job once; see ``submitted`` for what it prints.

    ``submit`` is a command that reads the script, made with the same ``submission``. ``find`` are lines that
    set ``jobs`` to the ids of the job's earlier submissions, or exit where that cannot be known; ``command``
    is the payload.
    """
    text = _SUBMIT.format(
        guard=shlex.quote(guard),
        submission=submission,
        size=len(command),
        find=find,
        submit=submit,
        script=script,
        end=f"END-{submission}",
        incomplete=INCOMPLETE,
        directory=shlex.quote(directory),
        stdout=STDOUT,
    )
    return Order(text, command)


def batch_script(running: Running, *, guard: str, directory: str, submission: str, shell: str | None) -> str:
    """Return what the batch system runs. ``submission`` tells it from the script of any other submission.

    ``shell`` runs the command; without one it is bash, where the node has that.
    """
    if not (directory + guard).isprintable():
        raise DestinationRefused(
            "The job's directory has a name that no cluster can take; tell the operator."
        )
    return _SCRIPT.format(
        guard=shlex.quote(guard),
        submission=submission,
        id_variable=running.id_variable,
        surroundings=running.surroundings,
        last='"$code"' if running.tells_code else 0,
        unable=75 if running.tells_code else 0,
        directory=shlex.quote(directory),
        stdout=STDOUT,
        stderr=STDERR,
        returncode=RETURNCODE,
        shell=_BASH if shell is None else f"set -- {shlex.join(shlex.split(shell))}",
        own_signal_after=OWN_SIGNAL_AFTER,
    )


def submitted(stdout: str) -> str | None:
    """Return the id of the job that was submitted, now or before; None when the job was cancelled before.

    Raises ValueError for anything else.
    """
    lines = stdout.split("\n")
    # The last line: a site's own sbatch may have said something before.
    words = lines[-2].split() if len(lines) > 1 else []
    if words == [NOT_SUBMITTED]:
        return None
    # With more than one, a submission that was thought to be lost came late: one of the scripts gives way.
    ids = sorted(int(word.partition(";")[0]) for word in words)
    if not ids:
        raise ValueError("there is no id in it")
    return str(ids[0])
