"""Keys of the configuration, and the options of qsub that they become.

They are on its command line, each quoted for the shell. ``-clear`` forgets what ``sge_request`` files say:
options there could keep jobs from being found again. ``-C ''`` lets no line of a script be an option.
"""

import re
import shlex
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

_OURS = frozenset(
    {"@", "C", "N", "S", "V", "b", "clear", "cwd", "e", "help", "hold_jid_ad", "j", "now", "o", "shell"}
) | {"sync", "t", "tc", "terse", "verify", "wd", "i", "inherit", "pe", "binding_file", "xd", "xdv", "masterq"}
"""Options that would break the way jobs are submitted or found again, or that have a key of their own."""


def _check_extra_option(option: str) -> str:
    if not option.isprintable():
        raise ValueError(f"holds {option!r}, which is more than one line: make it one entry for each option")
    try:
        words = shlex.split(option)
    except ValueError as error:
        raise ValueError(f"holds {option!r}, whose quotes are not closed") from error
    if not words or not re.fullmatch(r"-[A-Za-z_]+", words[0]) or any(w.startswith("-") for w in words[2:]):
        raise ValueError(f"holds {option!r}, which is not one option of qsub: begin it with a dash")
    if len(words) > 2:
        raise ValueError(f"holds {option!r}, which is more than one option: make it one entry for each")
    if words[0][1:] in _OURS:
        raise ValueError(f"holds {option!r}, which would keep jobs from being found again: remove it")
    return option


def _check_word(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_@][A-Za-z0-9_.,:@*+-]*", value):
        raise ValueError(f"is {value!r}: use letters, digits and _ . , : @ * + - only")
    return value


def _check_time(value: str) -> str:
    if not re.fullmatch(r"\d+:\d\d:\d\d", value):
        raise ValueError(f"is {value!r}: write hours:minutes:seconds, in quotes")
    return value


def _check_memory(value: str) -> str:
    if not re.fullmatch(r"\d+[KMGkmg]?", value):
        raise ValueError(f"is {value!r}: write a number and K, M or G, such as 4G")
    return value


def _check_shell(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_./+-]+( +[A-Za-z0-9_./=+-]+)*", value):
        raise ValueError(f"is {value!r}: write a program and its options, such as /bin/zsh or bash --login")
    return value


def _check_resources(resources: dict[str, str | int]) -> dict[str, str | int]:
    for name, value in resources.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name) or re.search(r"[,\s]", str(value)):
            raise ValueError(
                f"has {name!r}: write the name of a resource and its value, without blanks or commas"
            )
    return resources


def _check_path(value: str) -> str:
    if not re.fullmatch(r"/[^\0\n]*", value):
        raise ValueError(f"is {value!r}: write an absolute path")
    return value


def _check_line(value: str) -> str:
    if "\0" in value:
        raise ValueError(f"holds {value!r}, which is no line of a script")
    return value


Word = Annotated[str, AfterValidator(_check_word)]
Time = Annotated[str, AfterValidator(_check_time)]


class GridEngineOptions(BaseModel):
    """What each job of a destination asks of Grid Engine, and what its command is run by.

    ``time`` is ``h_rt``, ``soft_time`` is ``s_rt``, in quotes. ``memory`` is of each slot, as the resource
    ``memory_resource``. ``settings`` is a file that is read before each command of Grid Engine.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    queue: Word | None = None
    project: Word | None = None
    time: Time | None = None
    soft_time: Time | None = None
    memory: Annotated[str, AfterValidator(_check_memory)] | None = None
    memory_resource: Word = "h_vmem"
    parallel_environment: Word | None = None
    slots: int | None = Field(default=None, ge=1)
    resources: Annotated[dict[str, str | int], AfterValidator(_check_resources)] = Field(default_factory=dict)
    settings: Annotated[str, AfterValidator(_check_path)] | None = None
    shell: Annotated[str, AfterValidator(_check_shell)] | None = None
    setup: tuple[Annotated[str, AfterValidator(_check_line)], ...] = ()
    extra_options: tuple[Annotated[str, AfterValidator(_check_extra_option)], ...] = ()


def arguments(options: GridEngineOptions, *, name: str) -> str:
    """Return the options of qsub, quoted for the shell."""
    words = ["-clear", "-C", "", "-terse", "-S", "/bin/sh", "-r", "n"]
    if options.queue is not None:
        words += ["-q", options.queue]
    if options.project is not None:
        words += ["-P", options.project]
    if options.slots is not None:
        words += ["-pe", options.parallel_environment or "smp", str(options.slots)]
    asked = {
        "h_rt": options.time,
        "s_rt": options.soft_time,
        options.memory_resource: options.memory,
        **options.resources,
    }
    words += _limits(asked)
    for option in options.extra_options:
        words += shlex.split(option)
    # Last: of an option that is there twice, the last one counts. The script goes to its directory itself:
    # a directory that is not there would be an error of the job, not of what we are told.
    words += ["-N", name, "-wd", "/", "-o", "/dev/null", "-e", "/dev/null", "-j", "n", "-b", "n"]
    return shlex.join(words)


def _limits(asked: Mapping[str, str | int | None]) -> list[str]:
    given = [f"{name}={value}" for name, value in asked.items() if value is not None]
    return ["-l", ",".join(given)] if given else []
