"""What commands may know of the server's environment, which holds its secrets."""

import os
from collections.abc import Mapping

_INHERITED = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LOGNAME", "SHELL", "TMPDIR", "TZ", "USER")


def clean_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """Return the harmless part of our environment, plus ``extra``."""
    inherited = {name: os.environ[name] for name in _INHERITED if name in os.environ}
    return {"PATH": os.defpath, **inherited, **extra}
