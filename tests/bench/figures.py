"""Figures of one checkout, or of two in turn."""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.bench.checkouts import HERE, Checkout
from tests.bench.measuring import row


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of the table. ``more`` is what the figure is made of, for the reader."""

    name: str
    value: float
    unit: str = ""
    digits: int = 0
    more: str = ""

    def __str__(self) -> str:
        more = f" ({self.more})" if self.more else ""
        return f"{_text(self.value, self.unit, self.digits)}{more}"


Measure = Callable[[Checkout], Awaitable[Sequence[Figure]]]


async def alone(measure: Measure) -> None:
    """Print a row for each figure of this checkout."""
    for figure in await measure(HERE):
        row(figure.name, str(figure))


async def in_turn(measure: Measure, other: Checkout, rounds: int) -> None:
    """Print medians of both, and the median of the ratios of each round."""
    ours, theirs = [], []
    for _ in range(rounds):
        theirs.append(await measure(other))
        ours.append(await measure(HERE))
    for here, there in zip(zip(*ours, strict=True), zip(*theirs, strict=True), strict=True):
        first = here[0]
        ratios = [a.value / b.value for a, b in zip(here, there, strict=True) if b.value]
        medians = [statistics.median(figure.value for figure in figures) for figures in (here, there)]
        texts = [_text(median, first.unit, first.digits) for median in medians]
        ratio = f"{statistics.median(ratios):.2f}" if ratios else "-"
        print(f"| {first.name} | {texts[0]} | {texts[1]} | {ratio} |", flush=True)
        for which, figures in (("here", here), ("there", there)):
            if any(figure.more for figure in figures):
                more = "; ".join(figure.more for figure in figures)
                print(f"|   of which, {which} | {more} | | |", flush=True)


def _text(value: float, unit: str, digits: int) -> str:
    return f"{value:.{digits}f} {unit}".rstrip()
