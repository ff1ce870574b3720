"""Sessions side by side: each runs the tile in its turn, so that other work slows all alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from live_restore.inference.backends.session import Floats

_Key = TypeVar("_Key")


class Runs(Protocol):
    """A session, or several as one."""

    def run(self, tile: Floats) -> object:
        """Run a tile."""


def in_turns(sessions: Mapping[_Key, Runs], tile: Floats, rounds: int) -> dict[_Key, list[float]]:
    """Return the seconds of each session in each round; one more round before them warms."""
    taken: dict[_Key, list[float]] = {name: [] for name in sessions}
    for number in range(rounds + 1):
        for name, session in sessions.items():
            began = time.perf_counter()
            session.run(tile)
            if number:
                taken[name].append(time.perf_counter() - began)
    return taken


def times_as_fast(taken: Sequence[float], first: Sequence[float]) -> float:
    """Return the rate over that of the first: the median of the rounds' ratios."""
    return statistics.median(a / b for a, b in zip(first, taken, strict=True))
