"""What commands are run by and may know of the server's environment, which holds its secrets."""

import os
from collections.abc import Mapping

SHELL = "/bin/sh"
MARK = "BARTENDER_COMMAND"
"""Variable that tells a command's processes wherever they went; its value is the token."""

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "SHELL", "TMPDIR", "TZ", "USER")


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the harmless part of our environment, plus ``extra``."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": os.defpath, **inherited, **extra}
