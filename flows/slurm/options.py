"""Keys of the configuration, and the options of sbatch that they become.

They go on sbatch's command line, each quoted for the shell: it has precedence over variables such as
SBATCH_PARTITION, and unlike in an ``#SBATCH`` line, nothing in a value can begin another option.
"""

import re
import shlex
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from flows.errors import DestinationRefused

_OURS = {
    "array": "a",
    "chdir": "D",
    "cluster": "",
    "clusters": "M",
    "error": "e",
    "help": "h",
    "job-name": "J",
    "output": "o",
    "parsable": "",
    "test-only": "",
    "usage": "",
    "version": "V",
    "wait": "W",
    "wrap": "",
}
"""Long and short names of options that would break the way jobs are submitted or found again."""

_FLAGS = set("HIkOQsv")
"""Short options without a value: other ones could hide behind them."""

_ACCOUNT = re.compile(r"[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]*")


def _check_extra_option(option: str) -> str:
    if not option.isprintable():
        raise ValueError(f"holds {option!r}, which is more than one line: make it one entry for each option")
    try:
        words = shlex.split(option)
    except ValueError as error:
        raise ValueError(f"holds {option!r}, whose quotes are not closed") from error
    if not words or not re.fullmatch(r"-[A-Za-z].*|--[a-z].*", words[0]):
        raise ValueError(f"holds {option!r}, which is no option of sbatch: begin it with a dash")
    if len(words) > 2 or (len(words) == 2 and "=" in words[0]):
        raise ValueError(f"holds {option!r}, which is more than one option: make it one entry for each")
    if words[0].startswith(("-M", "--cl")):
        raise ValueError(f"holds {option!r}: write the key `cluster` instead, for all commands of Slurm")
    if _is_ours(words[0]):
        raise ValueError(f"holds {option!r}, which would keep jobs from being found again: remove it")
    return option


def _is_ours(word: str) -> bool:
    if not word.startswith("--"):
        letter, value = word[1], word[2:]
        return letter in _OURS.values() or (letter in _FLAGS and value != "")
    name = word[2:].partition("=")[0]
    # sbatch takes the beginning of a name for the whole one.
    return any(ours.startswith(name) for ours in _OURS)


def _check_word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.,:@+-]*", value):
        raise ValueError(f"is {value!r}: use letters, digits and _ . , : @ + - only")
    return value


def _check_time(value: str) -> str:
    if not re.fullmatch(r"(\d+-\d+(:\d+){0,2}|\d+(:\d+){0,2})", value):
        raise ValueError(f"is {value!r}: write minutes, hours:minutes:seconds or days-hours, in quotes")
    return value


def _check_memory(value: str) -> str:
    if not re.fullmatch(r"\d+[KMGT]?", value):
        raise ValueError(f"is {value!r}: write a number and K, M, G or T, such as 4G")
    return value


def _check_shell(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+( +[A-Za-z0-9_./=+-]+)*", value):
        raise ValueError(f"is {value!r}: write a program and its options, such as /bin/zsh or bash --login")
    return value


def _check_line(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"holds {value!r}, which is no line of a script")
    return value


def _check_cluster(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", value) or value == "all":
        raise ValueError(f"is {value!r}: write the name of one cluster, as sacctmgr prints it")
    return value


Word = Annotated[str, AfterValidator(_check_word)]


class SlurmRequest(BaseModel):
    """What each job of a destination asks of Slurm, and what its command is run by.

    ``memory`` is for each node; ``time`` and ``gpus`` are written as for sbatch. YAML takes 1:30:00 for a
    number of seconds, where Slurm would read minutes: that is why ``time`` has to be a text.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    partition: Word | None = None
    time: Annotated[str, AfterValidator(_check_time)] | None = None
    cpus: int | None = Field(default=None, ge=1)
    memory: Annotated[str, AfterValidator(_check_memory)] | None = None
    gpus: Word | Annotated[int, Field(ge=1)] | None = None
    submitter_as_account: bool = False
    shell: Annotated[str, AfterValidator(_check_shell)] | None = None
    setup: tuple[Annotated[str, AfterValidator(_check_line)], ...] = ()


class SlurmOptions(SlurmRequest):
    """With another cluster than the host's own, and options of sbatch that have no key of their own."""

    cluster: Annotated[str, AfterValidator(_check_cluster)] | None = None
    extra_options: tuple[Annotated[str, AfterValidator(_check_extra_option)], ...] = ()


def arguments(options: SlurmOptions, *, name: str, directory: str, submitter: str) -> str:
    """Return the options of sbatch, quoted for the shell.

    Raises DestinationRefused when the submitter is to be the account and has no name for one.
    """
    given = {
        "partition": options.partition,
        "time": options.time,
        "cpus-per-task": options.cpus,
        "mem": options.memory,
        "gpus": options.gpus,
        "account": account(submitter) if options.submitter_as_account else None,
        "clusters": options.cluster,
    }
    # What the host runs commands with, where nothing is of the server's secrets. NONE would cost each job a
    # login shell on its node, and go wrong where that does; it can be had as an extra option.
    words = ["--parsable", "--export=ALL"]
    words += [f"--{option}={value}" for option, value in given.items() if value is not None]
    for option in options.extra_options:
        words += shlex.split(option)
    # Last: of an option that is there twice, the last one counts.
    words += [f"--job-name={name}", f"--chdir={directory}", "--output=/dev/null", "--error=/dev/null"]
    return shlex.join(words)


def account(submitter: str) -> str:
    """Return the submitter as a Slurm account; raise DestinationRefused when it can be none."""
    if not _ACCOUNT.fullmatch(submitter):
        raise DestinationRefused("Your user name cannot be the name of a Slurm account; tell the operator.")
    return submitter
