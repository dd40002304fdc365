"""MariaDB for slurmdbd, behind a Unix socket of root's."""

import shutil
import socket
import subprocess
from pathlib import Path

from tests.services.daemon import Daemon
from tests.services.packages import SYSTEM_PATH

TABLES = Path("/usr/share/mysql")


class MariaDb(Daemon):
    """Its data lasts as long as the state's directory."""

    def __init__(self, directory: Path) -> None:
        self.socket = directory / "mariadb/socket"
        self._data = directory / "mariadb"
        self._options = ["--no-defaults", "--user=root", f"--datadir={self._data}"]
        command = ["mariadbd", *self._options, f"--socket={self.socket}", "--skip-networking"]
        command += ["--innodb-flush-log-at-trx-commit=2", "--innodb-buffer-pool-size=64M"]
        command += ["--innodb-lock-wait-timeout=900"]
        super().__init__("mariadbd", directory, command, self._greets)

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
        names = ["mysql_system_tables.sql", "mysql_performance_tables.sql", "mysql_system_tables_data.sql"]
        beginning = "create database mysql;\nuse mysql;\nset @auth_root_socket='root';\n"
        sql = beginning + "".join((TABLES / name).read_text() for name in names)
        program = shutil.which("mariadbd", path=SYSTEM_PATH) or "mariadbd"
        command = [
            program,
            *self._options,
            "--bootstrap",
            "--enforce-storage-engine=",
            "--max-allowed-packet=8M",
        ]
        with self.log.open("ab") as log:
            subprocess.run(command, input=sql.encode(), stdout=log, stderr=log, check=True)
