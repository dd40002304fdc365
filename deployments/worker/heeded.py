"""What operators have set in Prefect that holds jobs back, as Prefect said it last."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path

from deployments.worker.limits import JobLimits
from flows.disk import private_files

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Said:
    """``begins_first``: whether jobs begin before Prefect has their flow runs: its server has our route."""

    limits: JobLimits
    begins_first: bool


class Heeded:
    """Is kept in a file, for a worker to begin with before Prefect answers."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.said = self._kept = self._read()
        """None before Prefect has ever answered."""

    def _read(self) -> Said | None:
        try:
            kept = json.loads(self._path.read_text(encoding="ascii"))
            return Said(JobLimits(**kept["limits"]), bool(kept["begins_first"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError) as error:
            logger.warning("%s is not read; Prefect is waited for: %s", self._path, error)
            return None

    def keep(self) -> None:
        """Write down what is said now, where it is new; asks the disk."""
        if self.said is not None and self.said != self._kept:
            private_files.write(self._path, json.dumps(asdict(self.said)))
            self._kept = self.said

    @property
    def limits(self) -> JobLimits | None:
        return None if self.said is None else self.said.limits

    @property
    def begins_first(self) -> bool:
        return self.said is not None and self.said.begins_first

    @property
    def lets_some_begin(self) -> bool:
        """Whether something may begin, if not too much runs."""
        return self.said is not None and not self.said.limits.let_none_begin

    @property
    def holds_back(self) -> bool:
        """Whether jobs may have to wait although a worker is there."""
        return self.said is not None and (self.said.limits.is_paused or self.said.limits.at_most is not None)
