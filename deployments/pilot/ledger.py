"""What a pilot has taken, or asked for: kept in its directory until Prefect has heard the end."""

import json
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from flows.disk import private_files
from flows.pilots.orders import Order
from flows.pilots.words import Claim


@dataclass(frozen=True, slots=True)
class Entry:
    """``run`` is the id of the flow run."""

    run: str
    claim: Claim
    order: Order


class Ledger:
    """One file for each run that may be this pilot's. Everything here waits for the disk."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def keep(self, entry: Entry) -> None:
        """Write an entry down. A power cut may take it: then Prefect tells what this pilot has taken."""
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        content = {"run": entry.run, "claim": entry.claim.data, "order": entry.order.parameters()}
        draft = self._path(entry).with_suffix(".new")
        draft.write_text(json.dumps(content), encoding="utf-8")
        draft.replace(self._path(entry))

    def drop(self, entry: Entry) -> None:
        """Forget an entry; harmless when it is not there."""
        self._path(entry).unlink(missing_ok=True)

    def entries(self) -> list[Entry]:
        """Return all that are kept; a power cut may have damaged some."""
        found = []
        for path in sorted(self._directory.glob("*.json")) if self._directory.is_dir() else []:
            with suppress(ValueError, KeyError):
                content = json.loads(path.read_text(encoding="utf-8"))
                claim = Claim(content["claim"]["pilot"], content["claim"]["claim"])
                found.append(Entry(content["run"], claim, Order.read(content["order"])))
        return found

    def _path(self, entry: Entry) -> Path:
        return self._directory / f"{entry.claim.id}.json"


def identity(directory: Path) -> str:
    """Return what tells the pilots of this directory from all others; made by the first."""
    return private_files.kept(directory / "identity", lambda: secrets.token_hex(4)).strip()
