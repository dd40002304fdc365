"""Credentials of a server that speaks GA4GH's Task Execution Service (TES)."""

import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import httpx
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

TIMEOUT = httpx.Timeout(60.0, connect=10.0)


class TesCredentials(Block):
    """Where a TES server is, and how to log in: by a token, by a name and a password, or not at all.

    Name a block of this type as ``block`` of a ``tes`` scheduler. Save it again with a new token before the
    old one expires; nothing has to be restarted.
    """

    _block_type_name = "TES Credentials"
    _block_type_slug = "tes-credentials"
    _description = "Run containers by a GA4GH Task Execution Service."
    _documentation_url = HttpUrl("https://ga4gh.github.io/task-execution-schemas/docs/")
    _code_example = """
        from blocks import TesCredentials

        credentials = TesCredentials.load("BLOCK_NAME")
        async with credentials.client() as client:
            print((await client.get("/service-info")).json())
    """

    # Else the secrets would be in the messages of mistakes.
    model_config = ConfigDict(hide_input_in_errors=True)

    url: str = Field(
        description="Address of the API, which /tasks is appended to.",
        examples=["https://tes.example.org/ga4gh/tes/v1"],
    )
    token: SecretStr | None = Field(default=None, description="A bearer token.")
    username: str | None = Field(default=None, description="Of HTTP's basic authentication.")
    password: SecretStr | None = Field(default=None, description="Of that user.")
    certificates: str | None = Field(
        default=None, description="The text of certificates (PEM) of authorities to trust beside others."
    )

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/@?#]+(/[^\s?#]*)?", value):
            raise ValueError("must begin with http:// or https:// and hold no password")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _logs_in_in_one_way(self) -> Self:
        if (self.username is None) != (self.password is None) or (self.token and self.username):
            raise ValueError("must have a token, or a username and a password, or none of them")
        return self

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        """Open a client whose requests carry the login, and close it at the end."""
        verify: ssl.SSLContext | bool = True
        if self.certificates is not None:
            verify = ssl.create_default_context()
            verify.load_verify_locations(cadata=self.certificates)
        login = None
        if self.username is not None and self.password is not None:
            login = httpx.BasicAuth(self.username, self.password.get_secret_value())
        token = {"Authorization": f"Bearer {self.token.get_secret_value()}"} if self.token else {}
        async with httpx.AsyncClient(
            base_url=self.url, auth=login, headers=token, timeout=TIMEOUT, verify=verify
        ) as client:
            yield client
