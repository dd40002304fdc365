"""Several hosts on one machine: network namespaces with an address each, which can be cut off."""

import contextlib
import functools
import itertools
import os
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Self

_numbers = itertools.count(1)


class Host:
    """One of them. What runs on it is started by a command that begins with ``enter``."""

    def __init__(self, namespace: str, link: str, address: str) -> None:
        self.namespace, self.link, self.address = namespace, link, address

    @property
    def enter(self) -> list[str]:
        # Not `ip netns exec`, which has mounts of its own: the process stays what it is in all else.
        return ["nsenter", f"--net=/run/netns/{self.namespace}"]

    def cut_off(self) -> None:
        """Let all vanish that it sends or is sent; the links stay up, and nobody is told."""
        _run("bridge", "link", "set", "dev", self.link, "state", "0")

    def come_back(self) -> None:
        _run("bridge", "link", "set", "dev", self.link, "state", "3")

    def send(self, number: signal.Signals) -> None:
        """Send a signal to all that runs on it."""
        for pid in _run("ip", "netns", "pids", self.namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), number)

    def end(self) -> None:
        """End all that runs on it, and what that starts meanwhile."""
        while _run("ip", "netns", "pids", self.namespace):
            self.send(signal.SIGKILL)
            time.sleep(0.05)


class Network:
    """For as long as the block lasts. ``address`` is that of this machine; it is not cut off."""

    def __init__(self, hosts: int) -> None:
        number = next(_numbers)
        self._name = f"bt{os.getpid():x}n{number}"  # the name of an interface has 15 characters at most
        self._prefix = f"10.{64 + os.getpid() % 128}.{(os.getpid() // 128 + number) % 256}"
        self.address = f"{self._prefix}.254"
        self.hosts = [
            Host(f"{self._name}h{i}", f"{self._name}-{i}", f"{self._prefix}.{i}") for i in range(1, hosts + 1)
        ]

    def __enter__(self) -> Self:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        _run("ip", "link", "add", self._name, "type", "bridge", "forward_delay", "0", "stp_state", "0")
        _run("ip", "addr", "add", f"{self.address}/24", "dev", self._name)
        _run("ip", "link", "set", self._name, "up")
        for host in self.hosts:
            _run("ip", "netns", "add", host.namespace)
            _run("ip", "link", "add", host.link, "type", "veth", "peer", "eth0", "netns", host.namespace)
            _run("ip", "link", "set", host.link, "master", self._name, "up")
            _run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
            for interface in ("lo", "eth0"):
                _run("ip", "-n", host.namespace, "link", "set", interface, "up")
        self._introduce()

    def _introduce(self) -> None:
        """Let hosts know each other's hardware addresses for good, as behind a router.

        Else who asks for one that was cut off is told after 3 s that it cannot be reached.
        """
        here = Path(f"/sys/class/net/{self._name}/address").read_text().strip()
        for host in self.hosts:
            there = _run("ip", "netns", "exec", host.namespace, "cat", "/sys/class/net/eth0/address").strip()
            _know(host, self.address, here)
            _run(
                "ip", "neigh", "replace", host.address, "lladdr", there, "dev", self._name, "nud", "permanent"
            )
            for other in self.hosts:
                if other is not host:
                    _know(other, host.address, there)

    def _remove(self) -> None:
        for host in self.hosts:
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "link", "del", host.link)
            with contextlib.suppress(subprocess.CalledProcessError):
                _run("ip", "netns", "del", host.namespace)
        with contextlib.suppress(subprocess.CalledProcessError):
            _run("ip", "link", "del", self._name)


@functools.cache
def why_not() -> str | None:
    """Return why no namespaces can be made here; None when they can."""
    try:
        with Network(1):
            return None
    except FileNotFoundError as error:
        return f"{error.filename} is not installed"
    except subprocess.CalledProcessError as error:
        return " ".join(error.stderr.split()) or str(error)


def _know(host: Host, address: str, hardware: str) -> None:
    _run(
        "ip", "-n", host.namespace, "neigh", "replace", address, "lladdr", hardware, "dev", "eth0", "nud",
        "permanent",
    )  # fmt: skip


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
