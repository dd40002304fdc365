"""MariaDB for slurmdbd, behind a Unix socket of root's."""

import os
import shutil
import socket
import subprocess
from pathlib import Path

from tests.services.daemon import Daemon
from tests.services.packages import SYSTEM_PATH, Missing
from tests.services.state import State

TABLES = ["system_tables.sql", "performance_tables.sql", "system_tables_data.sql"]


class MariaDb(Daemon):
    """Its data lasts as long as the state's directory."""

    def __init__(self, state: State, directory: Path) -> None:
        self._state = state
        self.socket = directory / "mariadb/socket"
        self._data = directory / "mariadb"
        self._options = ["--no-defaults", "--user=root", f"--datadir={self._data}"]
        command = ["mariadbd", *self._options, f"--socket={self.socket}", "--skip-networking"]
        command += ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"]
        # What is loose may be unknown: MariaDB 11 has it, and slurmdbd cannot do with it.
        command += ["--innodb-lock-wait-timeout=900", "--loose-innodb-snapshot-isolation=OFF"]
        super().__init__("mariadbd", directory, state.run_by(command), self._greets)

    def start(self) -> None:
        done = self._data / "made"
        if not done.exists():
            shutil.rmtree(self._data, ignore_errors=True)
            self._data.mkdir(mode=0o700)
            self._make_tables()
            done.touch()
        super().start()

    def _greets(self) -> bool:
        """Only then it minds a signal to end; a connection is possible before."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            try:
                connection.connect(str(self.socket))
                return connection.recv(1) != b""
            except OSError:
                return False

    def _make_tables(self) -> None:
        """What mariadb-install-db would do, which is in a package that brings a service along."""
        beginning = "create database mysql;\nuse mysql;\nset @auth_root_socket='root';\n"
        sql = beginning + "".join(self._table(name).read_text() for name in TABLES)
        bootstrap = ["--bootstrap", "--enforce-storage-engine=", "--max-allowed-packet=8M"]
        command = self._state.run_by(["mariadbd", *self._options, *bootstrap])
        environment = {**os.environ, "PATH": SYSTEM_PATH}
        with self.log.open("ab") as log:
            subprocess.run(command, input=sql.encode(), stdout=log, stderr=log, env=environment, check=True)

    def _table(self, name: str) -> Path:
        """Debian 13 has renamed them."""
        share = self._state.path("/usr/share")
        names = [share / "mysql" / f"mysql_{name}", share / "mariadb" / f"mariadb_{name}"]
        return next((path for path in names if path.exists()), names[-1])


def client_library(state: State) -> Path | None:
    """Where slurmdbd finds the client library that it needs; None: it has the right one.

    With that of MariaDB 11.8 each answer has more columns than it may have, with that of Debian 12 not.
    """
    version = _say(state.run_by(["dpkg-query", "-W", "-f", "${Version}", "libmariadb3"]))
    if version.startswith(("1:10.", "1:11.4")):
        return None
    there = Path("/opt/bartender-libmariadb")
    here = state.path(str(there))
    found = "usr/lib/*/libmariadb.so.3"
    if not list(here.glob(found)):
        here.mkdir(parents=True, exist_ok=True)
        _say(state.run_by(["sh", "-ec", _FETCH, str(there)]))
    return there / next(here.glob(found)).relative_to(here).parent


# With lists of its own, so that apt goes on as it is configured.
_FETCH = """cd "$0"
from=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep '/debian/$' | head -n 1)
key=/usr/share/keyrings/debian-archive-keyring.gpg
echo "deb [signed-by=$key] $from bookworm main" >sources.list
set -- -o Dir::Etc::sourcelist="$0/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$0/lists"
set -- -qq -o APT::Sandbox::User=root "$@"
mkdir -p lists/partial
apt-get "$@" update
apt-get "$@" download libmariadb3/bookworm
dpkg-deb -x libmariadb3_*.deb .
rm -r lists
"""


def _say(command: list[str]) -> str:
    done = subprocess.run(
        command,
        env={**os.environ, "PATH": SYSTEM_PATH, "LC_ALL": "C.UTF-8"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise Missing(f"slurmdbd lacks a library that it can use: {done.stderr.strip()[-300:]}")
    return done.stdout.strip()
