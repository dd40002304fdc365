"""The command ``bartender pilot-key``: what pilots of a destination show to get their jobs' files."""

from api.commands.checked import load_checked
from flows.errors import ConfigurationError
from flows.filesystems.http import Filesystem
from flows.transfers.credentials import TransferKey


def pilot_key(destination: str) -> str:
    """Return the key of a destination's pilots; raise ConfigurationError for one that has none."""
    settings, config = load_checked(with_public_key=False)
    names = [
        name
        for name, configured in config.destinations.items()
        if isinstance(configured.filesystem.config, Filesystem.Config)
    ]
    if destination not in names:
        others = f"use one of {', '.join(names)}" if names else "give one the filesystem http"
        raise ConfigurationError(
            f"{settings.config_filename}: {destination!r} is no destination with a filesystem http; {others}"
        )
    return TransferKey.of(settings.place(config).transfer_key).pilot_key(destination)
