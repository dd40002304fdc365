"""What an account's login does: its shell, and the files that the shell reads."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.services.packages import need
from tests.services.state import Account

SHELLS = {
    "sh": "/bin/sh",
    "bash": "/bin/bash",
    "zsh": "/bin/zsh",
    "fish": "/usr/bin/fish",
    "ksh": "/bin/ksh",
    "csh": "/bin/bsd-csh",
    "tcsh": "/bin/tcsh",
}

READ_AT_LOGIN = {
    "bash": ".bashrc",
    "zsh": ".zshenv",
    "fish": ".config/fish/config.fish",
    "csh": ".cshrc",
    "tcsh": ".tcshrc",
}
"""The file that each reads when sshd starts it with a command."""


def need_shells() -> None:
    need("Login shells", SHELLS.values(), ["zsh", "fish", "ksh", "csh", "tcsh"])


@contextmanager
def login(account: Account, shell: str, files: Mapping[str, str] | None = None) -> Iterator[None]:
    """Give the account another shell and files in its home, by their names; in the end, take them away."""
    set_shell(account, SHELLS[shell])
    kept = {name: path.read_bytes() for name in files or {} if (path := account.home / name).exists()}
    try:
        for name, content in (files or {}).items():
            put(account, account.home / name, content.encode())
        yield
    finally:
        set_shell(account, SHELLS["bash"])
        for name in files or {}:
            (account.home / name).unlink()
        for name, before in kept.items():
            put(account, account.home / name, before)


def set_shell(account: Account, path: str) -> None:
    subprocess.run(["/usr/sbin/usermod", "--shell", path, account.name], check=True)


def put(account: Account, path: Path, content: bytes) -> None:
    for directory in reversed(path.parents):
        if not directory.exists():
            account.own(directory)
    path.write_bytes(content)
    os.chown(path, account.uid, account.uid)
