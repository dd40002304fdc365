"""The key ``ssh_config`` of schedulers and filesystems: which machine, and how to log in to it.

Blocks are imported when a configuration has this key: Prefect takes a second to import.
"""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from flows.errors import Unavailable

if TYPE_CHECKING:
    from blocks import SshCredentials


def _absolute(path: Path) -> Path:
    path = path.expanduser()
    if not path.is_absolute():
        raise ValueError("must be an absolute path or begin with ~/")
    return path


def _host_key(text: str) -> str:
    from blocks.ssh import check_host_key

    return check_host_key(text)


File = Annotated[Path, AfterValidator(_absolute)]


class SshConfig(BaseModel):
    """Either the machine and the credentials themselves, or the name of an SshCredentials block.

    Equal ones share their connections. ``proxy_jump`` is a machine that this one is reached by. Without a
    ``certificate``, the one beside the private key is used, if there is one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    hostname: str | None = Field(default=None, min_length=1)
    port: int = Field(default=22, gt=0, lt=65536)
    username: str | None = None
    password: SecretStr | None = None
    private_key: File | None = None
    passphrase: SecretStr | None = None
    certificate: File | None = None
    host_key: Annotated[str, AfterValidator(_host_key)] | None = None
    known_hosts: File | None = None
    insecure: bool = False
    block: str | None = Field(default=None, min_length=1)
    proxy_jump: "SshConfig | None" = None

    @model_validator(mode="after")
    def _is_one_or_the_other(self) -> Self:
        from blocks.ssh import check_agreement

        inline = sorted(self.model_fields_set - {"block", "proxy_jump"})
        if self.block is not None and inline:
            raise ValueError(f"has block and {', '.join(inline)}: keep one or the other")
        if self.block is None and self.hostname is None:
            raise ValueError("has no hostname: add it, or name a block")
        check_agreement(self)
        return self

    @property
    def name(self) -> str:
        """What operators read where the machine is meant."""
        return f"block {self.block}" if self.block is not None else f"{self.hostname}:{self.port}"

    async def credentials(self) -> "SshCredentials":
        """Return what to connect with, as it is now; Unavailable when it cannot be read."""
        from blocks import SshCredentials
        from flows.destinations.blocks import saved

        if self.block is not None:
            return await saved(SshCredentials, self.block)
        assert self.hostname is not None  # noqa: S101 - by the validator
        return SshCredentials(
            host=self.hostname,
            port=self.port,
            user=self.username,
            password=self.password,
            private_key=await self._key(),
            passphrase=self.passphrase,
            certificate=await self._certificate(),
            host_key=self.host_key,
            known_hosts=self.known_hosts,
            insecure=self.insecure,
        )

    async def _key(self) -> SecretStr | None:
        if self.private_key is None:
            return None
        return SecretStr(await _content("private key", self.private_key))

    async def _certificate(self) -> str | None:
        from blocks.ssh import check_certificate

        file = self.certificate
        if file is None and self.private_key is not None:
            beside = self.private_key.with_name(f"{self.private_key.name}-cert.pub")
            file = beside if await asyncio.to_thread(beside.exists) else None
        if file is None:
            return None
        try:
            return check_certificate(await _content("certificate", file))
        except ValueError as error:
            raise Unavailable(f"The certificate {file} {error}.") from error


async def _content(what: str, file: Path) -> str:
    """Read a file anew: it may be another one by now."""
    try:
        return await asyncio.to_thread(file.read_text)
    except (OSError, UnicodeDecodeError) as error:
        raise Unavailable(f"The {what} {file} cannot be read ({error}).") from error
