"""What runs at the cluster, and the command that submits it.

The guard, a directory beside the job's, holds what submissions and scripts have to know of each other::

    command      variables, set-up and the command, for the account's eyes only
    job          symbolic link to "<submission>.<Slurm's id>": made by the first script that gets there
    returncode   of the command, once it has ended
    cancelled    made when the job is cancelled: no script begins from then on

It is made by the first submission, and removed with the job's files. So who makes it knows that nothing was
submitted before, or that all is over: a submission whose sender gave it up may come so late. Then the job's
directory has outputs, or is gone, in which no script begins; of a job that was cancelled before it began, the
guard stays. A script that comes when it is gone does nothing. A script that Slurm runs again after a
preemption finds its own note in ``job``; a second submission's finds another one and gives way.

A command that came to its end, by a signal of its own too, never runs again, though Slurm may have forgotten
the end of its script. One that Slurm ended runs again if Slurm wants it: there is no return code then, since
Slurm ends the script too. That may be a moment later, so a script waits for it after a command that a signal
ended.
"""

import shlex
import uuid
from dataclasses import dataclass

from flows.disk.places import RETURNCODE, STDERR, STDOUT
from flows.errors import DestinationRefused

NOT_SUBMITTED = "cancelled"

OWN_SIGNAL_AFTER = 3
"""Seconds that a script outlives a command that a signal ended before it was no signal of Slurm's."""

# The submission is in the note too, because Slurm can give the id of a job that it lost to another one.
_SCRIPT = """#!/bin/sh
guard={guard}
note={submission}."$SLURM_JOB_ID"
[ -f "$guard/command" ] || exit 75
ln -s "$note" "$guard/job" 2>/dev/null || [ "$(readlink "$guard/job")" = "$note" ] || exit 0
[ ! -e "$guard/cancelled" ] || exit 0
if [ -e "$guard/returncode" ]; then
    read -r code <"$guard/returncode"
    exit "$code"
fi
cd {directory} || exit 75
rm -f {returncode}
unset SLURM_JWT
export SLURM_EXPORT_ENV=ALL
{shell}
"$@" "$guard/command" >{stdout} 2>{stderr} </dev/null
code=$?
[ "$code" -le 128 ] || sleep {own_signal_after}
printf %s "$code" >{returncode}
echo "$code" >"$guard/returncode.new" && mv "$guard/returncode.new" "$guard/returncode"
exit "$code"
"""

_BASH = 'set -- "$(command -v bash || echo /bin/sh)"'

# What accounting says for ever of a job that the controller has lost: such a one is to be submitted again.
_ACTIVE = r"\(PENDING\|RUNNING\|REQUEUED\|RESIZING\|SUSPENDED\)"

# The protocol of a submission; by_rest.RestCluster.submit keeps the same one for slurmrestd, and changes with
# it. What comes over the connection is counted, since a part of it may be all that arrives. The script is in
# the command line: it is there as a whole or not at all.
_SUBMIT = """umask 077
if mkdir {guard} 2>/dev/null; then
    if [ -e {directory}/{stdout} ]; then
        rmdir {guard}
        echo 'it has begun before' >&2
        exit {incomplete}
    fi
else
    [ ! -e {guard}/cancelled ] || {{ echo cancelled; exit; }}
    jobs=$(squeue{at} -h --me -t all --name={names} -o %A) || exit 1
    [ "$jobs" ] || jobs=$(sacct{at} -XnP -S now-7days --name={names} -o JobIDRaw,State 2>/dev/null |
        sed '/|{active}/d; s/|.*//')
    [ "$jobs" ] || jobs=$(readlink {guard}/job | sed 's/.*[.]//')
    [ ! "$jobs" ] || {{ echo $jobs; exit; }}
fi
cat >{guard}/{submission} && [ "$(wc -c <{guard}/{submission})" -eq {size} ] || exit {incomplete}
mv {guard}/{submission} {guard}/command || exit {incomplete}
sbatch {arguments} <<'{end}' || exit
{script}{end}
"""

INCOMPLETE = 74
"""Exit status of the command when the job's command could not be written down: EX_IOERR of sysexits.h."""


@dataclass(frozen=True, slots=True)
class Order:
    """A command line for the host, and what it reads."""

    command: str
    input: bytes


def at(cluster: str | None) -> str:
    """Return the option that turns a command of Slurm to another cluster than the host's own."""
    return "" if cluster is None else f" -M {cluster}"


def submission(
    *,
    names: str,
    guard: str,
    directory: str,
    arguments: str,
    command: bytes,
    shell: str | None = None,
    cluster: str | None = None,
) -> Order:
    """Make the order that submits a job once; see ``submitted`` for what it prints.

    ``names`` are those that an earlier submission of the job may have, with commas; ``command`` its payload.
    """
    this = uuid.uuid4().hex
    script = batch_script(guard=guard, directory=directory, submission=this, shell=shell)
    text = _SUBMIT.format(
        guard=shlex.quote(guard),
        submission=this,
        names=shlex.quote(names),
        size=len(command),
        at=at(cluster),
        arguments=arguments,
        script=script,
        end=f"END-{this}",
        incomplete=INCOMPLETE,
        active=_ACTIVE,
        directory=shlex.quote(directory),
        stdout=STDOUT,
    )
    return Order(text, command)


def batch_script(*, guard: str, directory: str, submission: str, shell: str | None) -> str:
    """Return what Slurm runs. ``submission`` tells it from the script of any other submission.

    ``shell`` runs the command; without one it is bash, where the node has that.
    """
    if not (directory + guard).isprintable():
        raise DestinationRefused("The job's directory has a name that Slurm cannot take; tell the operator.")
    return _SCRIPT.format(
        guard=shlex.quote(guard),
        submission=submission,
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
