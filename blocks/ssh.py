"""SSH credentials of another machine, such as the login node of a cluster."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import asyncssh
from prefect.blocks.core import Block
from pydantic import ConfigDict, Field, HttpUrl, SecretStr, field_validator, model_validator

logger = logging.getLogger(__name__)

CONNECT_SECONDS = 20.0
KEEPALIVE_SECONDS = 15.0
"""A connection counts as lost when three questions in a row get no answer."""

_CLOSE_SECONDS = 5.0
_OF_A_USER = 1
"""The type of certificates that are of users; 2 is of hosts. PROTOCOL.certkeys of OpenSSH has both."""


class CertificateRefused(asyncssh.PermissionDenied):
    """The login was refused, and ``reason`` is what is wrong with the certificate."""


class SshCredentials(Block):
    """How to log in to a machine by SSH, and how to know that it is the right one.

    Name a block of this type as ``block`` of an ``ssh_config`` in the configuration file. Without a password
    and private key, the SSH agent and the default keys of the worker's user are tried.
    """

    _block_type_name = "SSH Credentials"
    _block_type_slug = "ssh-credentials"
    _description = "Log in to a machine, such as the login node of a cluster, by SSH."
    _documentation_url = HttpUrl("https://asyncssh.readthedocs.io/")
    _code_example = """
        from blocks import SshCredentials

        credentials = SshCredentials.load("BLOCK_NAME")
        async with credentials.connect() as connection:
            print((await connection.run("hostname")).stdout)
    """

    # Else the secrets would be in the messages of mistakes.
    model_config = ConfigDict(hide_input_in_errors=True)

    host: str = Field(min_length=1, description="Name or address of the machine.")
    port: int = Field(default=22, gt=0, lt=65536, description="Where its SSH server listens.")
    user: str | None = Field(default=None, description="Whom to log in as; else the worker's own user.")
    password: SecretStr | None = Field(default=None, description="Of the user there.")
    private_key: SecretStr | None = Field(
        default=None, description="The text of a private key, in OpenSSH's format or PEM."
    )
    passphrase: SecretStr | None = Field(default=None, description="Opens the private key.")
    certificate: str | None = Field(
        default=None,
        description="The text of a certificate of the private key, as a centre's authority signs it.",
        examples=["ssh-ed25519-cert-v01@openssh.com AAAA..."],
    )
    host_key: str | None = Field(
        default=None,
        description="The only public key that the machine may have; `bartender ssh-keyscan HOST` prints it.",
        examples=["ssh-ed25519 AAAA..."],
    )
    known_hosts: Path | None = Field(
        default=None,
        description="File of known host keys on the worker's machine; without this and a host key, the "
        "~/.ssh/known_hosts of the worker's user.",
    )
    insecure: bool = Field(
        default=False,
        description="Take any host key. Whoever is in between can then read and change everything.",
    )

    @field_validator("host_key")
    @classmethod
    def _is_public_key(cls, value: str | None) -> str | None:
        return value if value is None else check_host_key(value)

    @field_validator("certificate")
    @classmethod
    def _is_certificate(cls, value: str | None) -> str | None:
        return value if value is None else check_certificate(value)

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        check_agreement(self)
        return self

    @asynccontextmanager
    async def connect(
        self, tunnel: asyncssh.SSHClientConnection | None = None
    ) -> AsyncIterator[asyncssh.SSHClientConnection]:
        """Open a connection, by way of the machine at the end of ``tunnel``, and close it at the end.

        Raises OSError, asyncssh.Error (CertificateRefused where that is why), or ValueError for a key that
        cannot be read.
        """
        if self.insecure:
            logger.warning(
                "The host key of %s:%s is NOT checked (insecure: true): whoever is in between can read and "
                "change everything; pin the key that `bartender ssh-keyscan` prints",
                self.host,
                self.port,
            )
        options = await asyncio.to_thread(self._options)
        try:
            connection = await asyncssh.connect(self.host, self.port, tunnel=tunnel or (), **options)
        except asyncssh.PermissionDenied as error:
            if (complaint := self._complaint()) is not None:
                raise CertificateRefused(complaint) from error
            raise
        try:
            yield connection
        finally:
            await _close(connection)

    def _options(self) -> dict[str, Any]:
        options: dict[str, Any] = {
            "config": None,
            "known_hosts": self._trusted(),
            "connect_timeout": CONNECT_SECONDS,
            "keepalive_interval": KEEPALIVE_SECONDS,
            "keepalive_count_max": 3,
            # Faster than the default where both sides have it.
            "encryption_algs": "^aes128-gcm@openssh.com",
            "gss_host": None,
            "agent_forwarding": False,
        }
        if self.user is not None:
            options["username"] = self.user
        if self.password is not None:
            options["password"] = self.password.get_secret_value()
        if self.private_key is not None:
            passphrase = None if self.passphrase is None else self.passphrase.get_secret_value()
            key = asyncssh.import_private_key(self.private_key.get_secret_value(), passphrase)
            options |= {"client_keys": [(key, self._certificate_of(key))], "agent_path": None}
        elif self.password is not None:
            options["client_keys"] = None  # nor the agent: servers count each refused key as a failure
        return options

    def _certificate_of(self, key: asyncssh.SSHKey) -> asyncssh.SSHCertificate | None:
        if self.certificate is None:
            return None
        certificate = asyncssh.import_certificate(self.certificate)
        if certificate.key.public_data != key.public_data:
            raise ValueError("the certificate does not belong to the private key")
        return certificate

    def _complaint(self) -> str | None:
        """Return what is wrong with the certificate, as far as that is known here."""
        if self.certificate is None:
            return None
        certificate = asyncssh.import_certificate(self.certificate)
        try:
            certificate.validate(_OF_A_USER, self.user)  # type: ignore[attr-defined]  # all that there are have it
        except ValueError as error:
            return str(error)
        return None

    def _trusted(self) -> object:
        if self.insecure:
            return None
        if self.host_key is not None:
            return ([asyncssh.import_public_key(self.host_key)], [], [])
        if self.known_hosts is not None:
            return asyncssh.import_known_hosts(self.known_hosts.expanduser().read_text())
        default = Path("~/.ssh/known_hosts").expanduser()
        return asyncssh.import_known_hosts(default.read_text() if default.is_file() else "")


def check_host_key(text: str) -> str:
    """Return the text; raise ValueError when it is not a public key in OpenSSH's format."""
    try:
        asyncssh.import_public_key(text)
    except asyncssh.KeyImportError as error:
        raise ValueError(
            "is not a public key such as `ssh-ed25519 AAAA...`: take what `bartender ssh-keyscan` prints"
        ) from error
    return text


def check_certificate(text: str) -> str:
    """Return the text; raise ValueError when it is not a certificate in OpenSSH's format."""
    try:
        asyncssh.import_certificate(text)
    except asyncssh.KeyImportError as error:
        raise ValueError(
            "is not a certificate such as `ssh-ed25519-cert-v01@openssh.com AAAA...`: take the text of the "
            "file that ends in -cert.pub"
        ) from error
    return text


def check_agreement(part: Any) -> None:
    """Raise ValueError for keys that contradict each other, here or in a configuration file."""
    if part.passphrase is not None and part.private_key is None:
        raise ValueError("has a passphrase without private_key: add the key, or use password")
    if part.certificate is not None and part.private_key is None:
        raise ValueError("has a certificate without private_key: add the key that it belongs to")
    if part.host_key is not None and part.known_hosts is not None:
        raise ValueError("has host_key and known_hosts: keep one of them")
    if part.insecure and (part.host_key is not None or part.known_hosts is not None):
        raise ValueError("is insecure and yet has a host key to check: remove insecure")


async def _close(connection: asyncssh.SSHClientConnection) -> None:
    connection.close()
    try:
        async with asyncio.timeout(_CLOSE_SECONDS):
            await connection.wait_closed()
    except (TimeoutError, OSError, asyncssh.Error):
        logger.debug("a connection was cut off", exc_info=True)
    finally:
        connection.abort()
