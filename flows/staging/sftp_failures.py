"""What SFTP raises, as errors of ours."""

from collections.abc import Iterator
from contextlib import contextmanager

import asyncssh

from flows.errors import StagingFailed, Unavailable
from flows.staging import failures


@contextmanager
def of_sftp(host: str) -> Iterator[None]:
    """Turn what SFTP raises into errors of ours.

    OSError is the connection's: for this machine's disk, see ``failures.here``.
    """
    try:
        yield
    except (asyncssh.SFTPNoSpaceOnFilesystem, asyncssh.SFTPQuotaExceeded) as error:
        raise failures.full() from error
    except (asyncssh.SFTPPermissionDenied, asyncssh.SFTPWriteProtect) as error:
        text = f"The destination cannot take or give the files ({error.reason}); tell the operator."
        raise StagingFailed(text) from error
    except (asyncssh.SFTPConnectionLost, asyncssh.SFTPNoConnection) as error:
        raise Unavailable(f"The connection to {host} was lost.") from error
    except asyncssh.SFTPError as error:
        raise Unavailable(f"The files cannot be moved at {host} now ({error.reason}).") from error
    except (OSError, asyncssh.Error) as error:
        raise Unavailable(f"The connection to {host} was lost.") from error
