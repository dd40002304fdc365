"""A recorder that tests tell what to answer."""

from collections.abc import Callable, Sequence

from deployments.recording.reports import Answer, RunReport, Verdict
from flows.errors import Unavailable

Rule = Callable[[RunReport], Answer]


def written(report: RunReport) -> Answer:
    return Answer(Verdict.WRITTEN)


class Recorder:
    """Remembers what it was told. While it ``is_away``, or for ``away_for`` calls, it has heard nothing."""

    def __init__(self) -> None:
        self.batches: list[list[RunReport]] = []
        self.rule: Rule = written
        self.is_away = False
        self.away_for = 0

    async def record(self, reports: Sequence[RunReport]) -> Sequence[Answer]:
        if self.is_away or self.away_for:
            self.away_for = max(0, self.away_for - 1)
            raise Unavailable("The Prefect server does not answer.")
        self.batches.append(list(reports))
        return [self.rule(report) for report in reports]

    @property
    def reports(self) -> list[RunReport]:
        """All of them, in their order."""
        return [report for batch in self.batches for report in batch]

    def names(self) -> list[list[str]]:
        """Return the names of the states in each report."""
        return [[state.name for state in report.states] for report in self.reports]
