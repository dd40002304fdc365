"""Containers without a Docker engine: Debian's podman and runc, and an image made of its static busybox."""

import os
import shutil
import subprocess
from pathlib import Path

from tests.services.packages import SYSTEM_PATH, Missing, need

IMAGE = "localhost/busybox"

CONFIG = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
netns = "host"
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
"""crun cannot start anything below some versions of control groups."""


class Containers:
    """A store of its own, with one image."""

    def __init__(self, directory: Path) -> None:
        self._config = directory / "containers.conf"
        self._root = directory / "image"
        self.command = ["podman", f"--root={directory}/store", f"--runroot={directory}/run"]
        self.environment = {"CONTAINERS_CONF": str(self._config), "PATH": SYSTEM_PATH}

    def prepare(self) -> None:
        """Raise Missing where containers do not run."""
        need("A test of containers", ["podman", "runc", "/bin/busybox"], ["podman", "runc", "busybox-static"])
        self._config.write_text(CONFIG)
        self._make_root()
        with subprocess.Popen(["tar", "-C", self._root, "-cf", "-", "."], stdout=subprocess.PIPE) as tar:
            self.run("import", "-", IMAGE, stdin=tar.stdout)
        self.run("run", "--rm", IMAGE, "true")

    def _make_root(self) -> None:
        for name in ("bin", "tmp", "etc", "proc", "sys", "dev"):
            (self._root / name).mkdir(parents=True)
        shutil.copy("/bin/busybox", self._root / "bin/busybox")
        applets = subprocess.run(["/bin/busybox", "--list"], capture_output=True, text=True, check=True)
        for applet in applets.stdout.split():
            if applet != "busybox":
                (self._root / "bin" / applet).symlink_to("busybox")
        (self._root / "etc/passwd").write_text("root:x:0:0::/:/bin/sh\n")

    def run(self, *arguments: str, stdin: object = subprocess.DEVNULL) -> str:
        done = subprocess.run(
            [*self.command, *arguments],
            env={**os.environ, **self.environment},
            stdin=stdin,  # type: ignore[call-overload]  # a file, or one of subprocess's numbers
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Missing(f"Containers do not run here: {done.stderr.strip()[-300:]}")
        return str(done.stdout)

    def remove(self) -> None:
        self.run("rm", "--all", "--force", "--time=0")
        self.run("rmi", "--all", "--force")
