"""Environment variables for applications' commands."""

from typing import Self

from prefect.blocks.core import Block
from prefect.types import SecretDict
from pydantic import Field


class CommandEnvironment(Block):
    """Variables that a destination gives to the commands it runs, such as licence keys.

    Commands see nothing of the server's own environment; name a block of this type as ``environment`` of a
    ``memory``, ``eager``, ``slurm``, ``slurmrestd`` or ``pilot`` scheduler to hand them what they need.
    """

    _block_type_name = "Command Environment"
    _block_type_slug = "command-environment"
    _description = "Environment variables, secret ones too, for the commands of a destination."

    variables: SecretDict = Field(
        description="Names and values; the values are stored encrypted.",
        examples=[{"LICENSE_KEY": "..."}],
    )

    @classmethod
    async def read(cls, name: str) -> dict[str, str]:
        """Return the variables of a saved block; ValueError when there is no such block."""
        block: Self = await cls.aload(name)
        return {key: str(value) for key, value in block.variables.get_secret_value().items()}
