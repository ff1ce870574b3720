"""When to look at what, so that looking costs little. Pure: times in, times out.

A *scan* walks the whole tree, a *glance* lists the folders in which a name has changed, a *look*
asks for single files that are undecided. Together they take 5 % of a core at most, however many
files there are, and no more than that of the time of a slow disk. What looking *into* files takes
is not counted: each is looked into once when it is at rest, and seldom while it grows.
"""

from __future__ import annotations

import math

from live_restore.settings.model import WatchSettings

# A walk through a huge or slow tree must not become all that this program does; and while nothing
# arrives, walks may have a third of a per cent of a core, else one per cent.
_REST_PER_SCAN = 20
_REST_PER_CPU_SECOND = 300
_REST_PER_CPU_SECOND_BUSY = 100
# Looks at what is undecided, and glances, may have 2 % of a core each: 5,000 empty files had 69 %.
_REST_PER_LOOK = 50


class LookBudget:
    """Plans scans, glances and looks.

    Parameters
    ----------
    watch
        ``scan_interval_s`` is used.

    Attributes
    ----------
    next_scan, next_glance, next_look
        When each is due (monotonic s).
    """

    def __init__(self, watch: WatchSettings) -> None:
        self._interval_s = watch.scan_interval_s
        self.next_scan = self.next_glance = self.next_look = -math.inf
        self._told_s = 0.0

    def scanned(self, began: float, took: float, worked: float, *, idle: bool) -> None:
        """Take into account how long a scan took, and how much of a core (both s).

        ``idle``: nothing is undecided.
        """
        per_second = _REST_PER_CPU_SECOND if idle else _REST_PER_CPU_SECOND_BUSY
        rest = max(_REST_PER_SCAN * took, per_second * worked)
        self.next_scan = began + max(self._interval_s, rest)
        self.next_glance = max(self.next_glance, began + self._interval_s)

    def glanced(self, began: float, took: float, worked: float) -> None:
        """Take into account what a glance took (s)."""
        rest = max(_REST_PER_SCAN * took, _REST_PER_LOOK * worked)
        self.next_glance = began + max(self._interval_s, rest)

    def looked(self, now: float, worked: float) -> None:
        """Take into account how much of a core (s) looks at single files took."""
        self.next_look = now + _REST_PER_LOOK * worked

    def next_in_s(self, now: float) -> float:
        """Return when the next scan or glance is due (s from now)."""
        return max(0.0, min(self.next_scan, self.next_glance) - now)

    def interval_to_report(self, began: float) -> float | None:
        """Return how long a new file may go unnoticed (s), where that is clearly longer than set.

        Again only when it has doubled.
        """
        interval_s = min(self.next_scan, self.next_glance) - began
        if interval_s <= 2 * max(self._interval_s, self._told_s):
            return None
        self._told_s = interval_s
        return interval_s
