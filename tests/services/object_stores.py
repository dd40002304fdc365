"""Two servers that speak S3 and check signatures: SeaweedFS, which knows users and conditions, and rclone."""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from blocks import S3Credentials
from tests.services.daemon import Daemon
from tests.services.processes import wait_until
from tests.services.state import free_port, listens

BUCKET = "jobs"
KEY, SECRET = "TESTKEYID", "TESTSECRET"
OTHER_KEY, OTHER_SECRET = "NEWKEYID", "NEWSECRET"
"""Of the same user of SeaweedFS."""


class ObjectStore(Daemon):
    """A server on 127.0.0.1. What is in ``files`` is there again after a restart."""

    def __init__(self, name: str, directory: Path, command: list[str], port: int) -> None:
        self.port = port
        self.files = directory / "files"
        (self.files / BUCKET).mkdir(parents=True, exist_ok=True)
        program = Path(sys.prefix, "bin", command[0])
        super().__init__(name, directory, [str(program), *command[1:]], lambda: listens(port))

    def credentials(self, **more: Any) -> S3Credentials:
        keys = {
            "access_key_id": KEY,
            "secret_access_key": SECRET,
            "endpoint": f"http://127.0.0.1:{self.port}",
        }
        return S3Credentials.model_validate(keys | more)

    def objects(self) -> list[str]:
        """Return the keys of all there is."""
        listed = self.credentials().store(BUCKET).list().collect()
        return sorted(str(one["path"]) for one in listed)

    def start(self) -> None:
        super().start()
        # A moment later than it listens.
        wait_until(self._takes_objects, f"{self.name} takes objects")

    def _takes_objects(self) -> bool:
        try:
            self.credentials().store(BUCKET).put("ready", b"")
        except Exception:
            return False
        self.credentials().store(BUCKET).delete("ready")
        return True

    def clear(self) -> None:
        if keys := self.objects():
            self.credentials().store(BUCKET).delete(keys)

    @contextmanager
    def away(self) -> Iterator[None]:
        self.kill()
        try:
            yield
        finally:
            self.start()


class SeaweedFs(ObjectStore):
    def __init__(self, directory: Path) -> None:
        ports = _ports("s3", "master", "volume", "filer")
        keys = [(KEY, SECRET), (OTHER_KEY, OTHER_SECRET)]
        identity = {
            "name": "writer",
            "credentials": [{"accessKey": key, "secretKey": secret} for key, secret in keys],
            "actions": ["Read", "Write", "List", "Tagging", "Admin"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        options = {
            "dir": directory / "files",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",  # else it reports to its makers
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "metricsPort": 0,
            "volume.max": 50,
            "master.volumeSizeLimitMB": 256,
            "s3.config": directory / "s3.json",
            **{f"{part}.port{kind}": port for (part, kind), port in ports.items()},
        }
        command = ["weed", f"-logdir={directory}", "server", "-filer", "-s3"]
        command += [f"-{name}={value}" for name, value in options.items()]
        super().__init__("seaweedfs", directory, command, ports["s3", ""])


def _ports(*parts: str) -> dict[tuple[str, str], int]:
    """Two for each part of it."""
    taken: dict[tuple[str, str], str] = {}
    for key in [(part, kind) for part in parts for kind in ("", ".grpc")]:
        taken[key] = free_port(taken.values())
    return {key: int(port) for key, port in taken.items()}


class Rclone(ObjectStore):
    def __init__(self, directory: Path) -> None:
        port = int(free_port([]))
        config = directory / "rclone.conf"
        config.touch()
        command = ["rclone", "serve", "s3", f"--config={config}", f"--addr=127.0.0.1:{port}"]
        command += [f"--auth-key={KEY},{SECRET}", "--force-path-style=true", "--no-cleanup"]
        super().__init__("rclone", directory, [*command, str(directory / "files")], port)
