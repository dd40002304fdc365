"""Names of files as visitors read and write them."""

import os
import re

from api.files.open_file import NotThere

Names = tuple[str, ...]
"""A path from the job's directory, or from the top of an archive, name by name."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# What shown() writes, and neither a NUL nor a slash: one name is to stay one.
_ESCAPED = re.compile(rb"\\x(0[1-9a-f]|1[0-9a-f]|7f|[89a-f][0-9a-f])")


def shown(name: str) -> str:
    r"""Return the name as it can be sent: bytes that are not UTF-8, and control characters, as ``\xff``."""
    text = os.fsencode(name).decode(errors="backslashreplace")
    return _CONTROL.sub(lambda character: f"\\x{ord(character[0]):02x}", text)


def meant(name: str) -> str:
    """Return the name that is shown like this, unless that is its real name."""
    return os.fsdecode(_ESCAPED.sub(lambda byte: bytes.fromhex(byte[1].decode()), os.fsencode(name)))


def parts(path: str) -> Names:
    """Return the names in a path that a visitor asks for; raise NotThere for what no file is called."""
    names = tuple(name for name in path.split("/") if name not in ("", "."))
    if ".." in names or "\0" in path:
        raise NotThere(path)
    return names
