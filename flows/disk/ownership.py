"""Of which database a data directory is: that database's id is in a file there."""

import secrets
import uuid
from contextlib import suppress
from pathlib import Path

from flows.disk.durability import fsync

OWNER = "database"
"""File in the data directory that says of which database it is."""


def is_ours(data_dir: Path, installation: uuid.UUID) -> bool:
    """Whether the data directory is this database's; one that is nobody's becomes so."""
    owner = data_dir / OWNER
    if not owner.exists():
        data_dir.mkdir(parents=True, exist_ok=True)
        _make_ours(owner, installation)
    return owner.read_text(encoding="ascii").strip() == str(installation)


def _make_ours(owner: Path, installation: uuid.UUID) -> None:
    # There as a whole or not at all; of several processes that do so at once, one is first.
    draft = owner.with_name(f".{OWNER}.{secrets.token_hex(4)}")
    try:
        draft.write_text(f"{installation}\n", encoding="ascii")
        fsync(draft)
        with suppress(FileExistsError):
            owner.hardlink_to(draft)
    finally:
        draft.unlink(missing_ok=True)
