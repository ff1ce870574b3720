"""How long a run has been quiet, and whether it counts as over. Pure: times in, decisions out.

::

    found ──(settle_s)──> followed ──(nothing new)──> quiet ──(long enough, or an end)──> over
                             ^                          │                                  │
                             └──────────(a plane)───────┴──────────────────────────────────┘

What ends a run::

    the format's own end marker, held for two seconds        or
    nothing has arrived for watch.stall_s                     (files have the same patience)
    nothing has arrived for watch.quiet_s                     where nobody waits longer (--once)

All times are monotonic seconds, as the caller's clock gives them.
"""

from __future__ import annotations

import math

from live_restore.settings.model import WatchSettings
from live_restore.sources.completeness import quiet_needed_s

BUSY_POLL_S = 0.1
"""An acquisition in which something moves is looked at this often (s)."""
END_HELD_S = 2.0
"""Between two files of one run an end marker may be there for a moment (s)."""
# One that rests is looked at after a tenth of its rest: what has slept for long is found a little
# later, and costs next to nothing.
_REST_SHARE = 0.1
# Looking into a folder of very many files takes long; it must not keep the disk from the writer.
_LOOKS_REST = 10.0
# One whose run is over is only looked at in case somebody appends to it after all.
_SCANS_WHEN_OVER = 10


class RunClock:
    """The state drawn above, of one run.

    Parameters
    ----------
    found_at
        When its folder was recognised.
    watch
        How long to wait for what.

    Attributes
    ----------
    next_look
        When to look again.
    over
        Whether the run counts as over: planes that are missing stay missing.
    """

    def __init__(self, found_at: float, watch: WatchSettings) -> None:
        self._watch = watch
        self._found_at = self._moved_at = self.next_look = found_at
        self._moves = 0
        self._longest_gap_s = 0.0
        self._ended_since: float | None = None
        self.over = False
        self._looked_at, self._look_s = -math.inf, 0.0
        self._written_ns, self._written_since = 0, math.inf

    # When to look -----------------------------------------------------------------------------

    def too_young(self, now: float) -> bool:
        """Return whether to wait for a moment before the first look.

        A position's folder may look like a run of its own until its run's is recognised.
        """
        if now - self._found_at < self._watch.settle_s:
            self.next_look = self._found_at + self._watch.settle_s
            return True
        return False

    def wake(self) -> None:
        """Look soon, but never so often that looking is all that is done."""
        earliest = self._looked_at + max(BUSY_POLL_S, _LOOKS_REST * self._look_s)
        self.next_look = min(self.next_look, earliest)

    def looked(self, began: float, took_s: float) -> None:
        """Take into account how long the last look took."""
        self._looked_at, self._look_s = began, took_s
        self.next_look = max(self.next_look, began + _LOOKS_REST * took_s)

    def rest(self, now: float) -> None:
        """Plan the next look, by how long nothing has arrived."""
        scan_s = self._watch.scan_interval_s
        if self.over:
            self.next_look = now + _SCANS_WHEN_OVER * scan_s
        else:
            rest_s = max(BUSY_POLL_S, _REST_SHARE * self.quiet_s(now))
            self.next_look = now + min(rest_s, scan_s)

    # What has happened ------------------------------------------------------------------------

    def begin(self, now: float, pause_s: float = 0.0) -> None:
        """The first look: what is there was there before, with pauses as long as ``pause_s``."""
        self._longest_gap_s = min(pause_s, self._watch.stall_s)
        self._moved_at = now
        self.next_look = now + BUSY_POLL_S

    def moved(self, now: float) -> None:
        """Planes have arrived since the last look."""
        gap_s = now - self._moved_at
        if gap_s <= self._watch.stall_s:
            self._longest_gap_s = max(self._longest_gap_s, gap_s)
        self._moves += 1
        self._moved_at = now
        self.next_look = now + BUSY_POLL_S

    def see_end(self, now: float, *, ended: bool, moved: bool) -> None:
        """Take the format's end marker into account, and how long it has been there."""
        if moved or not ended:
            self._ended_since = None
        if ended and self._ended_since is None:
            self._ended_since = now

    def see_written(self, now: float, written_ns: int) -> bool:
        """Return whether no file has been written for ``quiet_s``.

        ``written_ns`` is the newest time stamp of its files (ns since 1970).
        """
        if written_ns != self._written_ns:
            self._written_ns, self._written_since = written_ns, now
        return now - self._written_since >= self._watch.quiet_s

    # What follows -----------------------------------------------------------------------------

    def quiet_s(self, now: float) -> float:
        """Return for how long nothing has arrived (s)."""
        return now - self._moved_at

    @property
    def keeps_growing(self) -> bool:
        """Whether planes have been seen to arrive again and again."""
        return self._moves >= 2

    def just_moved(self, now: float) -> bool:
        """Return whether something arrived so recently that files may still be half written."""
        return self.quiet_s(now) < self._watch.settle_s

    def paused_longer_than_ever(self, now: float) -> bool:
        """Return whether nothing has arrived for clearly longer than its longest pause so far."""
        return self.quiet_s(now) >= quiet_needed_s(self._longest_gap_s, self._watch)

    def decide(self, now: float, *, calm: bool, hurry: bool) -> None:
        """Decide whether the run is over.

        Parameters
        ----------
        now
            The time.
        calm
            No file is being written.
        hurry
            A short quiet is enough.
        """
        end_held = self._ended_since is not None and now - self._ended_since >= END_HELD_S
        patience_s = self._watch.quiet_s if hurry else self._watch.stall_s
        self.over = calm and (end_held or self.quiet_s(now) >= patience_s)
