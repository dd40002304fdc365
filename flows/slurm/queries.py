"""squeue, sacct and scancel: the commands, and what their outputs say."""

import shlex
from collections.abc import Iterable
from dataclasses import dataclass, replace

from flows.batch.notes import Notes
from flows.batch.references import installation_of, token_of
from flows.batch.rows import Phase
from flows.destinations.scheduler import Status
from flows.slurm import states

# What accounting says for ever of a job that the controller has lost: such a one is to be submitted again.
_ACTIVE = r"\(PENDING\|RUNNING\|REQUEUED\|RESIZING\|SUSPENDED\)"


def at(cluster: str | None) -> str:
    """Return the option that turns a command of Slurm to another cluster than the host's own."""
    return "" if cluster is None else f" -M {cluster}"


def squeue(cluster: str | None = None) -> str:
    """Ask for all jobs of the account: a small question to the controller, whatever the number of ours."""
    return f"""unset SQUEUE_ACCOUNT SQUEUE_LICENSES SQUEUE_NAMES SQUEUE_PARTITION SQUEUE_QOS
squeue{at(cluster)} -h --me -t all -o '%A|%T|%r|%j'"""


def sinfo(cluster: str | None) -> str:
    """Ask something small that tells whether the controller answers."""
    return f"sinfo{at(cluster)} -h -o %P"


@dataclass(frozen=True, slots=True)
class Row:
    """What Slurm has of one job. ``reason`` is why it waits, or how it ended."""

    batch_id: str
    token: str
    state: str
    reason: str
    installation: str = ""

    @property
    def phase(self) -> Phase:
        return states.phase(self.state)

    @property
    def by_itself(self) -> bool:
        return self.state in states.BY_ITSELF

    def waiting(self) -> Status:
        return states.waiting(self.state, self.reason)

    def end(self, notes: Notes) -> Status | None:
        return states.end(self.state, self.reason, notes)


def queue(stdout: str) -> list[Row]:
    """Read what squeue printed. Lines that are of no job of ours do no harm."""
    return [row for line in stdout.split("\n") if (row := _row(line)) is not None]


def _row(line: str) -> Row | None:
    batch_id, _, rest = line.partition("|")
    state, _, rest = rest.partition("|")
    reason, separator, name = rest.partition("|")
    if not separator or not batch_id.isdigit():
        return None
    # sacct says "CANCELLED by 1001".
    return Row(batch_id, token_of(name), state.split(" ")[0].rstrip("+"), reason, installation_of(name))


def sacct(batch_ids: Iterable[str], cluster: str | None) -> str:
    """Ask accounting for jobs that squeue does not know."""
    ids = ",".join(batch_ids)
    return f"sacct{at(cluster)} -XnP -S now-7days -j {ids} -o JobIDRaw,State,ExitCode,JobName"


def accounted(stdout: str) -> list[Row]:
    """Read what sacct printed."""
    return [_of_accounting(row) for row in queue(stdout)]


def _of_accounting(row: Row) -> Row:
    """Say what squeue would: sacct has an exit code and a signal, such as 0:9, where squeue has a reason."""
    signal = row.reason.partition(":")[2]
    reason = f"RaisedSignal:{signal}" if row.state == "FAILED" and signal not in {"", "0"} else ""
    return replace(row, reason=reason)


def find(names: str, cluster: str | None) -> str:
    """Set ``jobs`` to the ids of a job's submissions; ``names`` are those that they may have, with commas."""
    quoted = shlex.quote(names)
    return f"""    jobs=$(squeue{at(cluster)} -h --me -t all --name={quoted} -o %A) || exit 1
    [ "$jobs" ] || jobs=$(sacct{at(cluster)} -XnP -S now-7days --name={quoted} -o JobIDRaw,State 2>/dev/null |
        sed '/|{_ACTIVE}/d; s/|.*//')"""


def cancel(batch_ids: Iterable[str], cluster: str | None) -> str:
    """Return the command that cancels jobs; it says nothing of those that have ended."""
    return f"scancel{at(cluster)} {' '.join(batch_ids)}"
