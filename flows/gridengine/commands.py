"""Grid Engine as its commands: qsub, qstat, qacct, qdel and qconf."""

import html
import re
import shlex
from collections.abc import Collection, Sequence

from flows.batch import complaints
from flows.batch.conclusions import failed
from flows.batch.references import installation_of, job_name, token_of
from flows.batch.rows import Row
from flows.batch.script import Running
from flows.destinations.host import Completed
from flows.destinations.scheduler import Submission
from flows.errors import DestinationRefused, JobCancelled, JobFailure, Unavailable
from flows.gridengine.options import GridEngineOptions, arguments
from flows.gridengine.rows import Accounted, Queued, number

_REFUSALS = (
    "unknown",
    "rejected",
    "denied",
    "invalid option",
    "is not a",
    "no suitable queues",
    "does not exist",
    "wrong",
)
"""Parts of what qsub says when it will never take a job like this one, in small letters."""

_PASSING = (
    "warning",  # the job is in, and its id is not told
    "unable to contact",
    "send error",
    "commlib",
    "connection",
    "error reading answer list",
    "jobs are allowed",  # the account has as many as it may have
    "communication",
    "timeout",
)
"""Parts of what it says when something is away or full, in small letters. These go first."""

_END = "whole"

# The XML of qstat is twenty times what is wanted of it, so the far side leaves only that.
_QSTAT = f"""jobs=$(qstat -u "$(id -un)" -xml) || exit 1
printf '%s\\n' "$jobs" | sed -n '
    s|^ *<JB_job_number>\\(.*\\)</JB_job_number>.*|id \\1|p
    s|^ *<JB_name>\\(.*\\)</JB_name>.*|name \\1|p
    s|^ *<state>\\(.*\\)</state>.*|state \\1|p
    s|^</job_info>.*|{_END}|p'"""

_WHY = """bad=$(printf '%s\\n' "$jobs" | sed -n '
    s|^ *<JB_job_number>\\(.*\\)</JB_job_number>.*|\\1|; t keep
    s|^ *<state>.*E.*</state>.*||; t tell
    d
    : keep
    h; d
    : tell
    x; p' | tr '\\n' ,)
[ ! "$bad" ] || qstat -j "${bad%,}" 2>/dev/null | sed -n '
    s|^job_number: *|of |p
    s|^error reason *[0-9]*: *|error |p'"""

_OUT_OF_QUEUE = failed(JobCancelled, "The job was deleted at the cluster before it began.")


class GridEngineCommands:
    """They are ``flows.batch.by_commands.Commands``.

    A script that ends with 99 is run again and again, and one that ends with 100 held as erroneous: so ours
    ends with 0. A job that is deleted while it waits is in no record, and Grid Engine loses none.
    """

    name = "Grid Engine"
    running = Running("JOB_ID", tells_code=False)
    vanished = _OUT_OF_QUEUE
    notes_suffice = True  # qacct reads the records of all jobs that ever were

    def __init__(self, options: GridEngineOptions) -> None:
        self._options = options
        self._before = "" if options.settings is None else f". {shlex.quote(options.settings)} || exit 1\n"
        self.setup: Sequence[str] = options.setup
        self.shell = options.shell

    def submit(self, job: Submission) -> str:
        return f"{self._before}qsub {arguments(self._options, name=_name(job))}"

    def find(self, job: Submission) -> str:
        name = shlex.quote(_name(job))
        return f"""{self._before}jobs=$(qstat -u "$(id -un)" -xml) || exit 1
jobs=$(printf '%s\\n' "$jobs" | sed -n 's|^ *<JB_job_number>\\(.*\\)</JB_job_number>.*|\\1|; t keep
    s|^ *<JB_name>\\(.*\\)</JB_name>.*|\\1|; t name
    d
    : keep
    h; d
    : name
    G; s|\\n| |p' | while read -r name id; do [ "$name" != {name} ] || echo "$id"; done)
[ "$jobs" ] || jobs=$(qacct -j {name} 2>/dev/null | sed -n 's/^jobnumber *\\([0-9]*\\).*/\\1/p')"""

    def queue(self) -> str:
        return f"{self._before}{_QSTAT}\n{_WHY}\ntrue"

    def read_queue(self, stdout: str) -> list[Row]:
        lines = [line.partition(" ") for line in stdout.splitlines()]
        if (_END, "", "") not in lines:
            raise Unavailable(f"{self.name} gave half an answer.")
        jobs: list[dict[str, str]] = []
        errors: dict[str, str] = {}
        of = ""
        for key, _, value in lines:
            if key == "id":
                jobs.append({"id": value})
            elif key in {"name", "state"} and jobs:
                jobs[-1][key] = html.unescape(value)
            elif key == "of":
                of = value
            elif key == "error":
                errors[of] = re.sub(r"^\S+ \S+ \[\S+\]: (error: )?", "", value)
        return [_queued(job, errors) for job in jobs if {"id", "name", "state"} <= job.keys()]

    def accounting(self, batch_ids: Sequence[str]) -> str:
        wanted = "|".join(batch_ids)
        return f"""{self._before}records=$(qacct -o "$(id -un)" -j) && printf '%s\\n' "$records" | awk '
    /^jobname / {{ name = $2 }}
    /^jobnumber / {{ wanted = $2 ~ /^({wanted})$/; if (wanted) printf "id %s\\nname %s\\n", $2, name }}
    wanted && /^(failed|exit_status) / {{ print }}'"""

    def read_accounting(self, stdout: str) -> list[Row]:
        jobs: list[dict[str, str]] = []
        for line in stdout.splitlines():
            key, _, value = line.partition(" ")
            if key == "id":
                jobs.append({"id": value})
            elif jobs:
                jobs[-1][key] = value.strip()
        # The last one counts: there is one more each time that the job could not be started.
        last = {job["id"]: job for job in jobs if {"name", "failed", "exit_status"} <= job.keys()}
        return [_accounted(job) for job in last.values()]

    def keeps_no_records(self, stderr: str) -> bool:
        return "no jobs running since startup" in stderr

    def check(self) -> str:
        return f"{self._before}qconf -sql >/dev/null"

    def cancel(self, batch_ids: Collection[str]) -> str:
        return f"{self._before}qdel {' '.join(batch_ids)} >&2"

    def over_already(self, completed: Completed) -> bool:
        lines = [line for line in completed.stderr.splitlines() if line.startswith("denied")]
        return bool(lines) and all("does not exist" in line for line in lines)

    def not_submitted(self, completed: Completed) -> JobFailure | Unavailable:
        said = complaints.sentence(completed).removesuffix("; Exiting.").removeprefix("Unable to run job: ")
        if any(part in said.lower() for part in _REFUSALS) and not any(
            part in said.lower() for part in _PASSING
        ):
            return DestinationRefused(f"The cluster does not take the job: {said.rstrip('.')}.")
        return Unavailable(f"{self.name} does not take the job now ({said}).")


def _name(job: Submission) -> str:
    """A name that Grid Engine takes begins with a letter."""
    name = job_name(job)
    return name if name[0].isascii() and name[0].isalpha() else f"j{name}"


def _queued(job: dict[str, str], errors: dict[str, str]) -> Row:
    name = job["name"]
    return Queued(job["id"], token_of(name), installation_of(name), job["state"], errors.get(job["id"], ""))


def _accounted(job: dict[str, str]) -> Row:
    name = job["name"]
    return Accounted(
        job["id"], token_of(name), installation_of(name), number(job["failed"]), number(job["exit_status"])
    )
