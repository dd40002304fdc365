"""What tells a command's output from what a login prints by itself.

A login may greet, set colours or a terminal's title, warn of a quota or print each command that it runs, with
a newline at the end or without, and perhaps something more when it ends. So each script of ours prints marks
around what it has to say, on both outputs. They are new for each script, and no part of its text.
"""

import re
import secrets
from dataclasses import dataclass

_ESCAPES = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles and the like
    r"|\x1b\[[0-?]*[ -/]*[@-~]"  # colours and the like
    r"|\x1b.|[\x00-\x08\x0b-\x1f\x7f]"
)

_BEGIN = r"""printf '%s:%s\n' {name} {nonce}
printf '%s:%s\n' {name} {nonce} >&2
"""
# In a shell of its own: it may exit, or become another program.
_AROUND = (
    _BEGIN
    + r"""(
{script}
)
code=$?
printf '%s:%s %s\n' {name} {nonce} $code
printf '%s:%s %s\n' {name} {nonce} $code >&2
exit $code
"""
)
_NAME = "bartender"


@dataclass(frozen=True, slots=True)
class Answer:
    """What a script said, without what was around it. ``farewell`` came after its output."""

    status: int
    stdout: bytes
    stderr: bytes
    farewell: bytes = b""


class Mark:
    """Of one command."""

    def __init__(self) -> None:
        self._nonce = secrets.token_hex(8)
        self.begin = f"{_NAME}:{self._nonce}\n".encode()
        self._end = f"{_NAME}:{self._nonce} ".encode()

    def at_the_beginning(self, script: str) -> str:
        """Return the script with a mark where its outputs begin. How it ends is for the reader to know."""
        return _BEGIN.format(name=_NAME, nonce=self._nonce) + script

    def around(self, script: str) -> str:
        """Return the script with marks around its outputs."""
        return _AROUND.format(name=_NAME, nonce=self._nonce, script=script)

    def answer(self, stdout: bytes, stderr: bytes) -> Answer | None:
        """Return what is between the marks; None when it is not all there."""
        _, begun, rest = stdout.partition(self.begin)
        said, ended, after = rest.rpartition(self._end)
        code, complete, farewell = after.partition(b"\n")
        if not (begun and ended and complete):
            return None
        return Answer(int(code), said, self.errors(stderr), farewell)

    def errors(self, stderr: bytes) -> bytes:
        """Return what is between the marks, as far as they are there."""
        rest = stderr.partition(self.begin)[2] if self.begin in stderr else stderr
        return rest.rpartition(self._end)[0] if self._end in rest else rest


def readable(printed: bytes) -> str:
    """Return the last line of what was printed, for a message: in quotes, without colours and the like."""
    text = _ESCAPES.sub("", printed.decode(errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return f'"{lines[-1][:200]}"' if lines else "nothing"
