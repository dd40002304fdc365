"""squeue, sacct and the notes that scripts leave; scancel: the commands, and what their outputs say."""

import shlex
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from flows.slurm.references import Reference, installation_of, token_of
from flows.slurm.script import Order, at
from flows.slurm.states import Notes

_SECTION = "--"

# Builtins of the shell only for a job that has ended as it should: there may be thousands.
_READ = """while IFS= read -r guard; do
    code= cancelled= begun=yes
    [ ! -f "$guard/returncode" ] || read -r code <"$guard/returncode"
    case $code in *[!0-9]*) code= ;; esac
    [ ! -e "$guard/cancelled" ] || cancelled=yes
    [ ! -d "$guard" ] || [ -L "$guard/job" ] || begun=
    printf '%s|%s|%s\\n' "$code" "$cancelled" "$begun"
done"""


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

    slurm_id: str
    token: str
    state: str
    reason: str
    installation: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """``rows`` is None when accounting did not answer."""

    notes: dict[Reference, Notes]
    rows: list[Row] | None


def queue(stdout: str) -> list[Row]:
    """Read what squeue printed. Lines that are of no job of ours do no harm."""
    return [row for line in stdout.split("\n") if (row := _row(line)) is not None]


def _row(line: str) -> Row | None:
    slurm_id, _, rest = line.partition("|")
    state, _, rest = rest.partition("|")
    reason, separator, name = rest.partition("|")
    if not separator or not slurm_id.isdigit():
        return None
    # sacct says "CANCELLED by 1001".
    return Row(slurm_id, token_of(name), state.split(" ")[0].rstrip("+"), reason, installation_of(name))


def evidence(ended: Collection[Reference], unknown: Iterable[Reference], cluster: str | None) -> Order:
    """Ask for the notes of jobs, and of accounting for those that squeue does not know."""
    command = _READ
    if ids := sorted({reference.slurm_id for reference in unknown if reference.slurm_id is not None}):
        sacct = f"sacct{at(cluster)} -XnP -S now-7days -j {','.join(ids)} -o JobIDRaw,State,ExitCode,JobName"
        command += f"\necho {_SECTION}\n{sacct} && echo {_SECTION}"
    guards = "".join(f"{reference.guard}\n" for reference in ended)
    return Order(command + "\ntrue", guards.encode(errors="surrogateescape"))


def read_evidence(ended: Collection[Reference], stdout: str) -> Evidence:
    """Read what the command of ``evidence`` printed. Raises ValueError when it is not whole."""
    lines = stdout.removesuffix("\n").split("\n")
    notes = dict(zip(ended, map(_notes, lines[: len(ended)]), strict=True))
    rest = lines[len(ended) :]
    if not rest:
        return Evidence(notes, [])
    if rest[0] != _SECTION:
        raise ValueError(f"{rest[0]!r} is not what was asked for")
    if rest[-1] != _SECTION or len(rest) == 1:
        return Evidence(notes, None)
    return Evidence(notes, [_of_accounting(row) for row in queue("\n".join(rest[1:-1]))])


def _notes(line: str) -> Notes:
    code, cancelled, begun = line.split("|")
    return Notes(int(code) if code.isdigit() else None, cancelled == "yes", begun == "yes")


def _of_accounting(row: Row) -> Row:
    """Say what squeue would: sacct has an exit code and a signal, such as 0:9, where squeue has a reason."""
    signal = row.reason.partition(":")[2]
    reason = f"RaisedSignal:{signal}" if row.state == "FAILED" and signal not in {"", "0"} else ""
    return replace(row, reason=reason)


def mark_cancelled(reference: Reference) -> str:
    """Return the command after which no script of the job begins."""
    guard = shlex.quote(reference.guard)
    return f"umask 077; {{ [ -d {guard} ] || mkdir {guard}; }} && : >{guard}/cancelled"


def cancel(slurm_ids: Iterable[str], cluster: str | None) -> str:
    """Return the command that cancels jobs; it says nothing of those that have ended."""
    return f"scancel{at(cluster)} {' '.join(slurm_ids)}"
