"""What runs the commands, as the contract sees it: how it is started, filled up and taken away."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import pytest
import yaml
from _pytest.mark import ParameterSet
from pydantic import SecretStr

from blocks import SlurmRestCredentials, TesCredentials
from flows.destinations.scheduler import Scheduler
from flows.destinations.surroundings import Surroundings
from flows.disk.places import Place
from flows.filesystems.s3 import Filesystem
from flows.slurm import queries
from flows.ssh.connections import Connections
from tests.flows.s3.playing import use_block
from tests.flows.tes.jobs import KEYS as TES_KEYS
from tests.pilots import new_pool
from tests.scheduler_contract.addressed import InDirectories
from tests.services.gridengine import GridEngine
from tests.services.object_stores import BUCKET
from tests.services.slurm import SlurmCluster
from tests.services.sshd import SshServer
from tests.services.tes import TesServer

Keys = Mapping[str, Any]


def _no_more_keys(request: pytest.FixtureRequest) -> Keys:
    return {}


@dataclass(frozen=True, kw_only=True)
class Backend:
    """``keys`` are those of the configuration, without ``type`` where that is the name of the backend.

    ``begin`` starts it for a test and returns more keys. ``away`` takes it away for a while. While it is
    ``full``, jobs with the keys that this gives wait, all but perhaps the first one; None if none ever waits.
    ``limited`` are keys of a short time limit; ``question`` is a part of the command that asks for all jobs.
    ``play`` gives jobs directories that have none. Where it ``is_long``, so are its tests.
    ``spares_sessions_of_root``: processes of root's jobs, which those of tests are, go on in other sessions.
    """

    keys: Keys
    begin: Callable[[pytest.FixtureRequest], Keys] = _no_more_keys
    away: Callable[[pytest.FixtureRequest], AbstractContextManager[None]] | None = None
    full: Callable[[pytest.FixtureRequest], AbstractContextManager[Keys]] | None = None
    limited: Keys = field(default_factory=dict)
    spares_sessions_of_root: bool = False
    question: str = ""
    play: Callable[[Scheduler, Place], Scheduler] = lambda scheduler, place: scheduler
    is_long: bool = False


# Of this machine


@contextmanager
def _disk_away(request: pytest.FixtureRequest) -> Iterator[None]:
    """The data directory is a link to where nothing is."""
    data_dir = request.getfixturevalue("place").data_dir
    elsewhere = data_dir.rename(data_dir.with_name("elsewhere"))
    data_dir.symlink_to("/nowhere/data")
    yield
    data_dir.unlink()
    elsewhere.rename(data_dir)


# Of Slurm


def _slurm(request: pytest.FixtureRequest) -> SlurmCluster:
    cluster: SlurmCluster = request.getfixturevalue("slurm_cluster")
    return cluster


def _use_slurm(request: pytest.FixtureRequest) -> Keys:
    _slurm(request).use(request.getfixturevalue("monkeypatch"))
    return {}


def _use_slurmrestd(request: pytest.FixtureRequest) -> Keys:
    cluster = _slurm(request)
    credentials = SlurmRestCredentials(
        url=cluster.rest_url, user="root", token=SecretStr(cluster.token("root"))
    )

    async def load(name: str) -> SlurmRestCredentials:
        return credentials

    request.getfixturevalue("monkeypatch").setattr(SlurmRestCredentials, "aload", staticmethod(load))
    return {}


def _use_ssh(request: pytest.FixtureRequest) -> Keys:
    _slurm(request)
    server: SshServer = request.getfixturevalue("ssh_server")
    return {"type": "slurm", "ssh_config": server.login(server.stock)}


@contextmanager
def _slurmctld_away(request: pytest.FixtureRequest) -> Iterator[None]:
    """Slurm's commands give up earlier, so that the test takes less time."""
    cluster = _slurm(request)
    cluster.configure(MessageTimeout="2")
    cluster.slurmctld.kill()
    try:
        yield
    finally:
        cluster.slurmctld.start()
        cluster.configure(MessageTimeout="10")


@contextmanager
def _slurmrestd_away(request: pytest.FixtureRequest) -> Iterator[None]:
    daemon = _slurm(request).slurmrestd
    daemon.kill()
    try:
        yield
    finally:
        daemon.start()


@contextmanager
def _partition_down(request: pytest.FixtureRequest) -> Iterator[Keys]:
    cluster = _slurm(request)
    cluster.set_partition("spare", "DOWN")
    try:
        yield {"partition": "spare"}
    finally:
        cluster.set_partition("spare", "UP")


def _sshd_away(request: pytest.FixtureRequest) -> AbstractContextManager[None]:
    server: SshServer = request.getfixturevalue("ssh_server")
    return server.stock.away()


# Of Prefect


def _use_pilots(request: pytest.FixtureRequest) -> Keys:
    return {"work_pool": request.getfixturevalue("pilot_pool")}


# Of TES


def _tes(request: pytest.FixtureRequest) -> TesServer:
    server: TesServer = request.getfixturevalue("tes_server")
    return server


def _use_tes(request: pytest.FixtureRequest) -> Keys:
    credentials, monkeypatch = _tes(request).credentials(), request.getfixturevalue("monkeypatch")

    async def load(name: str) -> TesCredentials:
        return credentials

    monkeypatch.setattr(TesCredentials, "aload", staticmethod(load))
    use_block(monkeypatch, request.getfixturevalue("seaweedfs"))
    return {}


@contextmanager
def _tes_holds(request: pytest.FixtureRequest) -> Iterator[Keys]:
    with _tes(request).with_file("hold"):
        yield {}


def _by_object_store(scheduler: Scheduler, place: Place) -> Scheduler:
    config = Filesystem.Config(block="store", bucket=BUCKET, prefix="contract")
    filesystem = Filesystem(config, Surroundings(place, "here", Connections()))
    return InDirectories(scheduler, filesystem, place)


# Of Grid Engine


def _gridengine(request: pytest.FixtureRequest) -> GridEngine:
    engine: GridEngine = request.getfixturevalue("gridengine")
    return engine


def _use_gridengine(request: pytest.FixtureRequest) -> Keys:
    _gridengine(request).use(request.getfixturevalue("monkeypatch"))
    return {}


@contextmanager
def _qmaster_away(request: pytest.FixtureRequest) -> Iterator[None]:
    engine = _gridengine(request)
    engine.qmaster.kill()
    try:
        yield
    finally:
        engine.qmaster.start()
        engine.execd.restart()  # it would take half a minute to find the qmaster again


_OF_SLURM: Keys = {"poll_interval": 0.1, "lost_after": 0.5}

BY_SSH = "slurm by ssh"
"""The same scheduler as ``slurm``: only whether it can be asked is different."""

BACKENDS: dict[str, Backend] = {
    "memory": Backend(keys={"slots": 3}, away=_disk_away, full=lambda request: nullcontext({"slots": 1})),
    "eager": Backend(
        keys={"max_load": 1000.0},
        away=_disk_away,
        full=lambda request: nullcontext({"max_load": 1e-9}),
        limited={"timeout": 0.5},
    ),
    "slurm": Backend(
        keys=_OF_SLURM,
        begin=_use_slurm,
        away=_slurmctld_away,
        full=_partition_down,
        question=queries.squeue(),
    ),
    "slurmrestd": Backend(
        keys={**_OF_SLURM, "block": "cluster"},
        begin=_use_slurmrestd,
        away=_slurmrestd_away,
        full=_partition_down,
    ),
    "pilot": Backend(
        keys={"poll_interval": 0.1, "max_poll_interval": 0.2},
        begin=_use_pilots,
        full=lambda request: nullcontext({"work_pool": new_pool()}),  # without a pilot
        limited={"job_timeout": 0.5},
    ),
    "tes": Backend(
        keys=TES_KEYS,
        begin=_use_tes,
        away=lambda request: _tes(request).away(),
        full=_tes_holds,
        limited={"time_limit": 1},
        play=_by_object_store,
        is_long=True,
    ),
    "gridengine": Backend(
        keys={"poll_interval": 0.2, "lost_after": 0.5},
        begin=_use_gridengine,
        away=_qmaster_away,
        full=lambda request: nullcontext({"extra_options": ["-h"]}),
        limited={"time": "0:00:02"},
        spares_sessions_of_root=True,
        question='qstat -u "$(id -un)" -xml) || exit 1\nprintf',
    ),
    "nice.py:Scheduler": Backend(keys={"interval": 0.05}),
}
if own := os.environ.get("BARTENDER_TESTS_SCHEDULER"):
    BACKENDS["own"] = Backend(keys=yaml.safe_load(own))

REACHED = {**BACKENDS, BY_SSH: Backend(keys=_OF_SLURM, begin=_use_ssh, away=_sshd_away)}
"""With those that differ only in how they are reached."""


def names(has: Callable[[Backend], object], among: Mapping[str, Backend] = REACHED) -> list[ParameterSet]:
    """Return the backends of which this can be shown."""
    return [
        pytest.param(name, marks=[pytest.mark.long] if backend.is_long else [])
        for name, backend in among.items()
        if has(backend)
    ]
