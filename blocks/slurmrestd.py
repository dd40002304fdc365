"""Credentials of slurmrestd, the REST API of a Slurm cluster."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator

TIMEOUT = httpx.Timeout(60.0, connect=10.0)
"""Seconds; slurmrestd itself waits 10 to 20 s for a controller that does not answer."""

_SOCKET = "unix:"


class SlurmRestCredentials(Block):
    """Where slurmrestd is, and whose token it is asked with.

    Name a block of this type as ``block`` of a ``slurmrestd`` scheduler. Save it again with a new token
    before the old one expires; nothing has to be restarted.
    """

    _block_type_name = "Slurm REST Credentials"
    _block_type_slug = "slurm-rest-credentials"
    _description = "Talk to a Slurm cluster by its REST API, slurmrestd."
    _documentation_url = HttpUrl("https://slurm.schedmd.com/rest_clients.html")
    _code_example = """
        from blocks import SlurmRestCredentials

        credentials = SlurmRestCredentials.load("BLOCK_NAME")
        async with credentials.client() as client:
            print((await client.get("/slurm/v0.0.42/ping")).json())
    """

    # Else the secrets would be in the messages of mistakes.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        description="Address of slurmrestd, or the path of its socket after unix:.",
        examples=["https://slurm.example.org:6820", "unix:/run/slurmrestd.sock"],
    )
    user: str = Field(pattern=r"^[!-~]+$", description="Whom jobs belong to at the cluster.")
    token: SecretStr = Field(description="What `scontrol token username=USER lifespan=SECONDS` prints.")

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?|unix:/[^\0]+", value):
            raise ValueError("must begin with http://, https:// or unix:/ and hold no password")
        return value.rstrip("/")

    @field_validator("token")
    @classmethod
    def _is_token(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value().strip().removeprefix("SLURM_JWT=")
        if not re.fullmatch(r"[!-~]+", token):
            raise ValueError("must be one word: what `scontrol token` prints")
        return SecretStr(token)

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client whose requests carry the token, and close it at the end."""
        socket = self.url.removeprefix(_SOCKET) if self.url.startswith(_SOCKET) else None
        async with httpx.AsyncClient(
            base_url="http://slurmrestd" if socket else self.url,
            transport=httpx.AsyncHTTPTransport(uds=socket) if socket else None,
            headers={"X-SLURM-USER-NAME": self.user, "X-SLURM-USER-TOKEN": self.token.get_secret_value()},
            timeout=TIMEOUT,
        ) as client:
            yield client
