"""Prefect blocks: credentials, and how to open a client with them.

``prefect block register -m blocks`` shows them in Prefect's UI. A leaf: nothing of Bartender is imported.
"""

from blocks.environment import CommandEnvironment
from blocks.s3 import S3Credentials
from blocks.slurmrestd import SlurmRestCredentials
from blocks.ssh import SshCredentials
from blocks.tes import TesCredentials

__all__ = ["CommandEnvironment", "S3Credentials", "SlurmRestCredentials", "SshCredentials", "TesCredentials"]
