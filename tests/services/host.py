"""The name of the host, which Slurm's daemons listen on."""

import socket
import subprocess

from tests.services.packages import Missing

LOCALHOST = "localhost"
# A host name of their own for the daemons, where the machine's is not on loopback.
AS_LOCALHOST = ["unshare", "--uts", "sh", "-c", 'hostname localhost && exec "$0" "$@"']


def choose_name() -> str:
    """Slurm's daemons bind to what their host's name stands for, which must be loopback."""
    name = socket.gethostname().partition(".")[0]
    try:
        if socket.gethostbyname(socket.gethostname()).startswith("127."):
            return name
    except OSError:
        pass
    if subprocess.run(["unshare", "--uts", "true"], capture_output=True, check=False).returncode == 0:
        return LOCALHOST
    raise Missing(
        f"Slurm would not listen on loopback: the host name {name} has to stand for 127.0.0.1 in /etc/hosts"
    )


def run_as(name: str, command: list[str]) -> list[str]:
    return [*AS_LOCALHOST, *command] if name == LOCALHOST else command
