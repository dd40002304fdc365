"""What operators read when a machine cannot be used by SSH."""

import asyncssh

from flows.errors import one_line

LOST = (OSError, EOFError, asyncssh.Error)
"""What asyncssh raises once something is wrong with a connection, OSError of the network included."""


def described(name: str, error: BaseException) -> str:
    """Return a sentence of why no connection could be made. There never is a secret in it."""
    from blocks.ssh import CertificateRefused  # imports Prefect, which who connects has done

    match error:
        case asyncssh.HostKeyNotVerifiable():
            return (
                f"{name} has a host key that is not trusted: find out whether it is the right machine, then "
                f"add what `bartender ssh-keyscan` prints as host_key."
            )
        case CertificateRefused():
            return f"{name} refuses the login: the certificate is of no use ({error.reason}), get a new one."
        case asyncssh.PermissionDenied():
            return f"{name} refuses the login: check user, password, key or certificate."
        case asyncssh.KeyImportError() | asyncssh.KeyEncryptionError():
            return f"The private key for {name} cannot be used ({error}): check key and passphrase."
        case ValueError():
            return f"What is needed to log in to {name} cannot be used: {one_line(error)}."
        case TimeoutError():
            return f"{name} does not answer in time."
        case asyncssh.Error():
            return f"{name} ends the connection ({_reason(error)})."
        case OSError() if error.filename is not None:
            return f"The connection to {name} needs the file {error.filename} ({error.strerror})."
        case AssertionError() | AttributeError():
            return f"The connection to {name} was lost."
        case _:
            return f"{name} does not answer ({_reason(error)})."


def _reason(error: BaseException) -> str:
    text = getattr(error, "reason", None) or getattr(error, "strerror", None) or str(error)
    return one_line(text) or type(error).__name__
