"""Versions of the product that are compared."""

import os
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Checkout:
    """A version of the product, by the interpreter and the path that run it."""

    path: Path

    @property
    def python(self) -> str:
        own = self.path / ".venv" / "bin" / "python"
        return str(own) if own.exists() else sys.executable

    @property
    def environment(self) -> dict[str, str]:
        """What makes the interpreter take this checkout, also where another is installed."""
        return {**os.environ, "PYTHONPATH": str(self.path)}


HERE = Checkout(Path(__file__).resolve().parents[2])
