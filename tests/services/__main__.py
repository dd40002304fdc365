"""Start and stop the servers by hand: python -m tests.services up|down|status [slurm ssh]."""

import argparse
import sys
import tempfile
from pathlib import Path

from tests.services.packages import Missing
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.services.state import State


def main() -> int:
    default = Path(tempfile.gettempdir()) / "bartender-servers"
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("verb", choices=["up", "down", "status"])
    parser.add_argument("names", nargs="*", metavar="slurm|ssh", help="both if none is given")
    parser.add_argument(
        "--state", type=Path, default=default, help=f"their directory, {default} if not given"
    )
    arguments = parser.parse_args()
    state = State(arguments.state)
    slurm = SlurmCluster(state)
    servers: dict[str, SlurmCluster | SshServer] = {
        "slurm": slurm,
        "ssh": SshServer(state, slurm.environment),
    }
    if unknown := set(arguments.names) - set(servers):
        parser.error(f"there is no {', '.join(unknown)}")
    try:
        return run(arguments.verb, state, servers, arguments.names or list(servers))
    except Missing as missing:
        print(missing, file=sys.stderr)
        return 1


def run(verb: str, state: State, servers: dict[str, SlurmCluster | SshServer], names: list[str]) -> int:
    for name in names:
        if verb == "up":
            servers[name].up()
            print(f"{name} is up. {how_to_use(servers[name])}")
        elif verb == "down":
            servers[name].down()
            print(f"{name} is down.")
        else:
            print(f"{name} is {'up' if is_up(state, servers[name]) else 'down'}.")
    any_up = any(is_up(state, server) for server in servers.values())
    if verb == "down" and not any_up and state.directory.exists():
        state.remove()
    return 0 if verb != "status" or all(is_up(state, servers[name]) for name in names) else 1


def is_up(state: State, server: SlurmCluster | SshServer) -> bool:
    return state.directory.exists() and server.is_up


def how_to_use(server: SlurmCluster | SshServer) -> str:
    if isinstance(server, SlurmCluster):
        return f"For its commands: export SLURM_CONF={server.conf}"
    files = f"-i {server.key} -o UserKnownHostsFile={server.known_hosts}"
    return f"Log in: ssh -F none {files} -p {server.roomy.port} {server.user}@{server.host}"


sys.exit(main())
