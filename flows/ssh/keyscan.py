"""What the command ``bartender ssh-keyscan`` asks a machine."""

import asyncssh

from blocks.ssh import CONNECT_SECONDS
from flows.errors import ConfigurationError
from flows.ssh.errors import LOST, described


async def scan(host: str, port: int) -> str:
    """Return two lines: a comment with the fingerprint of the host key, and the key to pin.

    Raises ConfigurationError when the machine does not say.
    """
    name = f"{host}:{port}"
    try:
        options = asyncssh.SSHClientConnectionOptions(connect_timeout=CONNECT_SECONDS, config=None)
        key = await asyncssh.get_server_host_key(host, port, config=None, options=options)
    except LOST as error:
        raise ConfigurationError(described(name, error)) from error
    if key is None:
        raise ConfigurationError(f"{name}: has no host key; check the port")
    algorithm, text = key.export_public_key().decode().split()[:2]
    return f"# {name} {key.get_fingerprint()}\n{algorithm} {text}"
