"""The configuration files of the Slurm cluster."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

CPUS = 64
GPUS = 2  # as fake as the CPUs
MEMORY_PER_CPU = 4000  # MiB; as fake as the CPUs


@dataclass(frozen=True)
class Layout:
    """Where things are, and under which names and ports."""

    directory: Path
    common: Path
    """The directory of the cluster whose keys and slurmdbd are used."""
    name: str
    host: str
    slurmctld: int
    slurmd: int
    slurmdbd: int
    accounting: bool

    @property
    def node(self) -> str:
        """Names the node's control groups too, so that clusters on one machine do not meet there."""
        return f"node{self.slurmd}"

    @property
    def munge_socket(self) -> Path:
        return self.common / "munge/socket"

    @property
    def jwt_key(self) -> Path:
        return self.common / "jwt.key"


def have_cgroups() -> bool:
    """Slurm needs systemd for version 2, so limits and stray processes are only seen to with version 1."""
    return all(os.access(f"/sys/fs/cgroup/{controller}", os.W_OK) for controller in ("freezer", "memory"))


def slurm(layout: Layout, options: Mapping[str, str]) -> str:
    """slurm.conf; ``options`` add to it or take the place of what is here."""
    cgroups = have_cgroups()
    lines = {
        "ClusterName": layout.name,
        "SlurmctldHost": f"{layout.host}(127.0.0.1)",
        "SlurmctldPort": str(layout.slurmctld),
        "SlurmdPort": str(layout.slurmd),
        "CommunicationParameters": "NoCtldInAddrAny,NoInAddrAny",  # bind to what the host's name stands for
        "SlurmUser": "root",
        **authentication(layout),
        "StateSaveLocation": str(layout.directory / "slurmctld"),
        "SlurmdSpoolDir": str(layout.directory / "slurmd"),
        "SlurmctldPidFile": str(layout.directory / "slurmctld.pid"),
        "SlurmdPidFile": str(layout.directory / "slurmd.pid"),
        "SlurmctldSyslogDebug": "quiet",
        "SlurmdSyslogDebug": "quiet",
        "ProctrackType": "proctrack/cgroup" if cgroups else "proctrack/linuxproc",
        "TaskPlugin": "task/cgroup" if cgroups else "task/none",
        "JobAcctGatherType": "jobacct_gather/none",
        "MpiDefault": "none",
        "MailProg": "/bin/true",
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        "DefMemPerCPU": str(MEMORY_PER_CPU),
        # Start jobs when they come, not in the next round.
        "SchedulerParameters": "batch_sched_delay=0,sched_min_interval=1000,"
        "default_queue_depth=1000,bf_interval=1",
        "SlurmdParameters": "config_overrides",  # believe the CPUs below
        "ReturnToService": "2",
        "KillWait": "2",
        "MaxJobCount": "20000",
        "GresTypes": "gpu",
        **accounting(layout),
        **options,
    }
    node = f"NodeHostname={layout.host} NodeAddr=127.0.0.1 CPUs={CPUS}"
    node += f" RealMemory={CPUS * MEMORY_PER_CPU} Gres=gpu:{GPUS}"
    nodes = [
        f"NodeName={layout.node} {node}",
        f"PartitionName=main Nodes={layout.node} Default=YES MaxTime=1-0",
        f"PartitionName=short Nodes={layout.node} MaxTime=2",
        f"PartitionName=spare Nodes={layout.node} MaxTime=1-0",
    ]
    return text(lines) + "\n".join(nodes) + "\n"


def accounting(layout: Layout) -> dict[str, str]:
    if not layout.accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    return {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": "127.0.0.1",
        "AccountingStoragePort": str(layout.slurmdbd),
        "AccountingStoragePass": str(layout.munge_socket),
        "AccountingStoreFlags": "job_comment",
    }


def authentication(layout: Layout) -> dict[str, str]:
    return {
        "AuthInfo": f"socket={layout.munge_socket}",
        "AuthAltTypes": "auth/jwt",
        "AuthAltParameters": f"jwt_key={layout.jwt_key}",
    }


def slurmdbd(layout: Layout) -> str:
    return text(
        {
            "DbdHost": layout.host,
            "DbdAddr": "127.0.0.1",
            "DbdPort": str(layout.slurmdbd),
            "CommunicationParameters": "NoInAddrAny",
            "SlurmUser": "root",
            **authentication(layout),
            "PidFile": str(layout.directory / "slurmdbd.pid"),
            "DebugLevelSyslog": "quiet",
            "StorageType": "accounting_storage/mysql",
            "StorageHost": "localhost",
            "StorageUser": "root",
            "StorageLoc": "slurm_acct",
        }
    )


def gres(layout: Layout) -> str:
    """slurmd wants a file for each: any device that there is."""
    files = ["/dev/null", "/dev/zero"][:GPUS]
    return "AutoDetect=off\n" + "".join(f"NodeName={layout.node} Name=gpu File={file}\n" for file in files)


def cgroup() -> str:
    swap = Path("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists()
    return text(
        {
            "CgroupPlugin": "cgroup/v1",
            "CgroupMountpoint": "/sys/fs/cgroup",
            "ConstrainRAMSpace": "yes",
            "ConstrainSwapSpace": "yes" if swap else "no",
        }
    )


def text(lines: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in lines.items())
