"""Does restoring keep up with the microscope? From times alone. Pure."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

_LAST = 20
"""Results that are judged: long enough for a trend, short enough to follow a change of settings."""
_FEWEST = 6
_BEARABLE_S = 0.05
_BEARABLE_SHARE = 0.05
"""Of the time between two arrivals: less growth per stack is scatter."""


@dataclass(frozen=True)
class Pace:
    """How arrival and restoring go together; ``None`` where too little is known.

    Parameters
    ----------
    arrival_s, restored_s
        Median time between two arrivals, and between two results (s).
    behind_s
        How much longer each stack waits than the one before it (s); 0 where it keeps up.
    words
        The same for people.
    """

    arrival_s: float | None
    restored_s: float | None
    behind_s: float | None
    words: str

    def to_json(self) -> dict[str, Any]:
        """Return it for the API."""
        return asdict(self)


def pace_of(times: Iterable[tuple[float, float | None, float | None]]) -> Pace:
    """Judge by (seen at, finished at, delay), each in seconds, of every entry.

    Examples
    --------
    >>> steady = [(10.0 * n, 10.0 * n + 4, 3.0) for n in range(8)]
    >>> pace_of(steady).words
    'keeps up'
    >>> late = [(10.0 * n, 13.0 * n + 4, 3.0 + 3 * n) for n in range(8)]
    >>> pace_of([*late, (80.0, None, None)]).words
    'falls behind by 3.0 s per stack'
    >>> pace_of(late).words
    'fell behind by 3.0 s per stack, and has caught up'
    >>> pace_of(steady[:2]).words
    ''
    """
    rows = list(times)
    arrived = sorted(seen for seen, _, _ in rows)[-_LAST:]
    done = sorted(
        (finished, delay)
        for _, finished, delay in rows
        if finished is not None and delay is not None
    )[-_LAST:]
    arrival = _median_step(arrived)
    restored = _median_step([finished for finished, _ in done])
    if len(done) < _FEWEST:
        return Pace(arrival, restored, None, "")
    growth = _slope([delay for _, delay in done])
    if growth <= max(_BEARABLE_S, _BEARABLE_SHARE * (arrival or 0.0)):
        return Pace(arrival, restored, 0.0, "keeps up")
    if all(finished is not None for _, finished, _ in rows):
        words = f"fell behind by {growth:.1f} s per stack, and has caught up"
        return Pace(arrival, restored, 0.0, words)
    return Pace(arrival, restored, growth, f"falls behind by {growth:.1f} s per stack")


def _median_step(times: list[float]) -> float | None:
    if len(times) < 3:
        return None
    return statistics.median(b - a for a, b in itertools.pairwise(times))


def _slope(values: list[float]) -> float:
    """Return the median slope over all pairs (Theil 1950, Sen 1968): one hiccup changes nothing."""
    return statistics.median(
        (values[j] - values[i]) / (j - i)
        for i in range(len(values))
        for j in range(i + 1, len(values))
    )
