"""What will happen, made of a seed: the same seed makes the same plan."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Fate = Literal["run", "cancel", "delete"]
What = Literal["kill", "freeze", "restart"]

LONG = 1000.0
"""Seconds that a command sleeps which only ends when its job is cancelled or deleted."""

LONGEST_FREEZE = 6.0
BEYOND_THE_LEASE = 24.0
"""Seconds for which a worker must be frozen for others to take its jobs over."""


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """``at`` is in seconds after the start; ``fate_after`` in seconds after the upload was answered."""

    number: int
    at: float
    destination: str
    size: int
    seconds: float
    fate: Fate = "run"
    fate_after: float = 0.0

    @property
    def content(self) -> bytes:
        return random.Random(self.number).randbytes(self.size)


@dataclass(frozen=True, slots=True)
class PlannedFault:
    """``seconds`` is how long the part stays away, where that is ours to decide."""

    at: float
    part: str
    what: What
    seconds: float


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    jobs: Sequence[PlannedJob]
    faults: Sequence[PlannedFault]


def make_plan(
    seed: int,
    *,
    jobs: int,
    faults: int,
    parts: Sequence[str],
    destinations: Sequence[str],
    pause: float,
    beyond_the_lease: bool,
) -> Plan:
    """``pause`` is the mean of the seconds between two faults."""
    chance = random.Random(seed)
    planned_faults = []
    at = 1.0
    for number in range(faults):
        at += chance.uniform(0.2, 2 * pause)
        # Each part in turn, in an order that differs every time: none is left out by chance.
        if number % len(parts) == 0:
            turn = chance.sample(parts, len(parts))
        planned_faults.append(
            _fault(chance, at, turn[number % len(parts)], beyond_the_lease=beyond_the_lease)
        )
    return Plan(seed, [_job(chance, n, at, destinations) for n in range(jobs)], planned_faults)


def _fault(chance: random.Random, at: float, part: str, *, beyond_the_lease: bool) -> PlannedFault:
    faults: list[What] = ["kill", "freeze", "restart"]
    what = chance.choices(faults, [5, 3, 2])[0]
    seconds = chance.uniform(0.5, LONGEST_FREEZE)
    if beyond_the_lease and what == "freeze" and "worker" in part and chance.random() < 0.3:
        seconds = BEYOND_THE_LEASE
    return PlannedFault(round(at, 2), part, what, round(seconds, 2))


def _job(chance: random.Random, number: int, end: float, destinations: Sequence[str]) -> PlannedJob:
    fates: list[Fate] = ["run", "cancel", "delete"]
    fate = chance.choices(fates, [14, 3, 3])[0]
    seconds = chance.uniform(0.0, 4.0)
    if fate == "cancel" or (fate == "delete" and chance.random() < 0.5):
        seconds = LONG
    return PlannedJob(
        number=number,
        at=round(chance.uniform(0.0, end), 2),
        destination=destinations[number % len(destinations)],
        size=chance.choice([10, 1_000, 100_000, 400_000]),
        seconds=round(seconds, 2),
        fate=fate,
        fate_after=round(chance.choice([0.0, chance.uniform(0.0, 8.0)]), 2),
    )
