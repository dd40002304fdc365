"""Of which database a data directory is: that database's id is in a file there."""

import uuid
from pathlib import Path

from flows.disk import private_files

OWNER = "database"
"""File in the data directory that says of which database it is."""


def is_ours(data_dir: Path, installation: uuid.UUID) -> bool:
    """Whether the data directory is this database's; one that is nobody's becomes so."""
    data_dir.mkdir(parents=True, exist_ok=True)
    return private_files.kept(data_dir / OWNER, lambda: f"{installation}\n").strip() == str(installation)
