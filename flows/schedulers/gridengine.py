"""Scheduler ``gridengine``: Grid Engine, by its commands on this machine or on another one by SSH."""

from typing import ClassVar

from flows.batch.by_commands import CommandCluster
from flows.batch.scheduling import BatchScheduler, SchedulingKeys
from flows.destinations.surroundings import Surroundings
from flows.gridengine.commands import GridEngineCommands
from flows.gridengine.options import GridEngineOptions
from flows.ssh.config import SshConfig


class Scheduler(BatchScheduler):
    """Hands jobs to qsub."""

    commands_are_here: ClassVar[bool] = False

    class Config(GridEngineOptions, SchedulingKeys):
        """Where the commands are, and the keys of each job."""

        ssh_config: SshConfig | None = None

    def __init__(self, config: Config, surroundings: Surroundings) -> None:
        host = surroundings.connections.host(config.ssh_config)
        super().__init__(config, CommandCluster(GridEngineCommands(config), host), surroundings.turns)
