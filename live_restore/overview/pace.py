"""Does restoring keep up with the microscope? From times alone. Pure.

A heap of stacks that were found together is worked off, and each of them waits longer than the one
before. That is no falling behind: there the heap grows.
"""

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
_FOUND_TOGETHER = 0.1
"""Of the time a stack takes: no microscope records in so short a time what takes that long."""


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
    """Judge by (seen at, finished at, delay), in seconds, of what is finished or waits to be.

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
    >>> heap = [(0.01 * n, 13.0 * n + 4, 4 + 13.0 * n) for n in range(8)]
    >>> pace_of([*heap, (0.08, None, None)]).words, pace_of(heap).words
    ('catching up', 'caught up')
    >>> pace_of(steady[:2]).words
    ''
    """
    rows = list(times)
    arrival = _median_step(sorted(seen for seen, _, _ in rows)[-_LAST:])
    ends = sorted(finished for _, finished, _ in rows if finished is not None)[-_LAST:]
    restored = _median_step(ends)
    behind, words = 0.0, "keeps up"
    if len(ends) < _FEWEST:
        return Pace(arrival, restored, None, "")
    delays = sorted((finished, delay, seen) for seen, finished, delay in rows
                    if finished is not None and delay is not None)[-_LAST:]  # fmt: skip
    enough = len(delays) >= _FEWEST
    growth = _slope([delay for _, delay, _ in delays]) if enough else 0.0
    if enough and growth <= max(_BEARABLE_S, _BEARABLE_SHARE * (arrival or 0.0)):
        return Pace(arrival, restored, behind, words)
    if any(finished is None for _, finished, _ in rows):
        arrived_meanwhile = sum(seen > ends[0] for seen, _, _ in rows)
        if arrived_meanwhile < len(ends) - 1:
            words = "catching up"
        elif enough:
            behind, words = growth, f"falls behind by {growth:.1f} s per stack"
        else:
            words = ""
    elif _found_together([seen for *_, seen in delays], restored):
        words = "caught up"
    else:
        words = f"fell behind by {growth:.1f} s per stack, and has caught up"
    return Pace(arrival, restored, behind, words)


def _found_together(seen: list[float], restored_s: float | None) -> bool:
    arrival = _median_step(sorted(seen))
    return arrival is None or arrival < _FOUND_TOGETHER * (restored_s or 0.0)


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
