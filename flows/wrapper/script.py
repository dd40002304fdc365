"""The wrapper of one job: the same text for all, with a few lines before it."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

BROKEN = 75
"""Exit status of a wrapper that could not do its part; its last line on standard error says why."""

_HEAD = "#!/bin/sh\n"


@dataclass(frozen=True, kw_only=True, slots=True)
class Wrapping:
    """Where things are over there. Paths are absolute; ``limit`` in whole seconds.

    ``commands`` are files with pieces of the command, as some backends take short files only. What is fetched
    or sent by the wrapper itself has a URL; whoever can read the wrapper has those.
    """

    token: str
    work: str
    commands: Sequence[str]
    input: str = ""
    output: str = ""
    input_url: str = ""
    output_url: str = ""
    limit: int | None = None


def script(wrapping: Wrapping) -> str:
    """Return the text that is run by ``sh``."""
    variables = {
        "token": wrapping.token,
        "work": wrapping.work,
        "input": wrapping.input,
        "output": wrapping.output,
        "input_url": wrapping.input_url,
        "output_url": wrapping.output_url,
        "limit": "" if wrapping.limit is None else str(wrapping.limit),
    }
    lines = [f"{name}={shlex.quote(value)}\n" for name, value in variables.items()]
    lines.append(f"write_command() {{ cat -- {shlex.join(wrapping.commands)}; }}\n")
    return "".join([_HEAD, *lines, "\n", files(__package__).joinpath("wrapper.sh").read_text()])
