"""How planes arrive, and whether restoring would be in their way. Pure: times in, decisions out.

::

    planes ──(none for three of their gaps)──> pause ──(the time point that is due)──> planes
    restoring waits                            restoring goes on, where a tile fits

All times are monotonic seconds, as the caller's clock gives them.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Sequence

# Planes that come more seldom leave the computer alone for so long that a tile beside them costs
# less than can be measured.
_SLOW_S = 0.5
# So long without a plane is a pause: three times what planes usually take, within these limits.
_GAPS_TO_A_PAUSE = 3.0
_SHORTEST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 2.0
_GAPS_KEPT = 15
# Time points count as regular when three intervals in a row differ by no more than a quarter.
_PERIODS = 3
_REGULAR = 1.25
# While both run, the acquisition took 1.24 times as long (Micro-Manager 2.0.3 and its window on two
# cores): a tile that reaches so far into the next time point costs it less than 5 % of the period.
_OVERLAP = 0.2


class Cadence:
    """The planes of a watched folder, as they arrive."""

    def __init__(self) -> None:
        self._gaps: deque[float] = deque(maxlen=_GAPS_KEPT)
        self._starts: deque[float] = deque(maxlen=_PERIODS + 1)
        self._last = self._first = -math.inf

    def arrived(self, now: float) -> None:
        """Planes have arrived."""
        gap = now - self._last
        if gap > self._pause_s:
            self._first = now
        else:
            self._gaps.append(gap)
            if self._first not in self._starts:  # a plane alone is no time point to make room for
                self._starts.append(self._first)
        self._last = now

    def arriving(self, now: float) -> bool:
        """Return whether planes are arriving, however slowly, and no pause has begun."""
        return now - self._last < self._pause_s

    def may_begin(self, now: float, takes_s: float) -> bool:
        """Return whether a tile that takes so long costs the acquisition less than 5 %."""
        if self.arriving(now):
            return statistics.median(self._gaps or [_SLOW_S]) >= _SLOW_S
        period_s = _regular(self._starts)
        if period_s is None:
            return True
        due_in_s = self._starts[-1] + period_s - now
        return due_in_s <= 0 or takes_s - due_in_s <= _OVERLAP * period_s

    @property
    def _pause_s(self) -> float:
        if not self._gaps:
            return _SHORTEST_PAUSE_S
        pause_s = _GAPS_TO_A_PAUSE * statistics.median(self._gaps)
        return min(max(pause_s, _SHORTEST_PAUSE_S), _LONGEST_PAUSE_S)


def _regular(starts: Sequence[float]) -> float | None:
    """Return the interval between time points (s), ``None`` where they keep none."""
    if len(starts) <= _PERIODS:
        return None
    periods = [b - a for a, b in zip(starts, list(starts)[1:], strict=False)]
    return statistics.median(periods) if max(periods) <= _REGULAR * min(periods) else None
