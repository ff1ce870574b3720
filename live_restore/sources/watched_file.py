"""What is known of a file that is being watched, and how often it is looked at."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from live_restore.formats.file_format import (
    Arriving,
    Complete,
    FileFormat,
    GrowingFileFormat,
    PartOf,
)
from live_restore.settings.model import FilesSettings, WatchSettings
from live_restore.sources.completeness import judge_stacks, quiet_needed_s
from live_restore.sources.pending import PendingFindings
from live_restore.sources.tree import Seen
from live_restore.stack import Fingerprint, StackKey

# While something arrives it is looked at this often; a look at an unchanged file is one stat().
_SOONEST_S = 0.1
_REST_SHARE = 0.1

GROWS = 2
"""Changes after which a file is one that keeps being written."""
_REST_PER_CPU_SECOND = 10.0
"""Looking at a file that grows may have a tenth of a core, and half of a slow disk's time."""


@dataclass
class Candidate:
    """A file that is not decided about yet."""

    fingerprint: Fingerprint
    unchanged_since: float
    longest_gap_s: float = 0.0
    evidence: Arriving | Complete | None = None
    thorough: bool = False
    reported: str = ""
    changes: int = 0
    grown: bool = False
    handed_over: int = 0
    busy_since: float | None = None
    not_before: float = -math.inf
    next_look: float = -math.inf


@dataclass(frozen=True)
class Settled:
    """A file that is decided: how it was, since when, and how long its writer has paused (s)."""

    fingerprint: Fingerprint
    unchanged_since: float = -math.inf
    longest_gap_s: float = 0.0


class Rest:
    """How long a file is left alone after a look that begins now."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.thread_time()

    def worked_s(self) -> float:
        """Return how much processor time (s) the look has taken."""
        return time.thread_time() - self._worked

    def needed_s(self) -> float:
        """Return how long (s), now that the look has ended."""
        return max(time.perf_counter() - self._began, _REST_PER_CPU_SECOND * self.worked_s())


def next_look_at(candidate: Candidate, now: float, watch: WatchSettings) -> float:
    """Return when to look again: after a tenth of its quiet, and when something falls due."""
    quiet_s = now - candidate.unchanged_since
    needed_s = quiet_needed_s(candidate.longest_gap_s, watch)
    rest_s = max(_SOONEST_S, _REST_SHARE * quiet_s)
    if waits_for_others(candidate.evidence):  # whose arrival shows in them alone
        rest_s = min(rest_s, watch.scan_interval_s)
    until = [each - quiet_s for each in (watch.settle_s, needed_s, watch.stall_s)]
    return now + min([rest_s, *(each for each in until if each > 0)])


def recalled(pending: PendingFindings, key: StackKey) -> Settled | None:
    """Return what is known of a file that has not been here since it was last scanned for."""
    fingerprint = pending.settled(key)
    return None if fingerprint is None else Settled(fingerprint)


def is_undecided(candidate: Candidate, now: float, quiet_s: float, files: FilesSettings) -> bool:
    """Return whether a file has been quiet for too short a time to decide about."""
    if candidate.changes >= GROWS:
        return False
    if candidate.busy_since is not None:
        return now - candidate.busy_since < quiet_s
    if candidate.evidence is None:
        return True
    return bool(judge_stacks(candidate.evidence, files, finished=True).ready)


def waits_for_others(evidence: Arriving | Complete | None) -> bool:
    """Return whether what is missing lies in other files."""
    return isinstance(evidence, Arriving) and evidence.waits_for_others


def writers_pause_s(known: Candidate | Settled, seen: Seen, stall_s: float) -> float:
    """Return the longest pause (s) of the writer of a file that has changed."""
    if seen.fingerprint == known.fingerprint:
        return known.longest_gap_s
    gap_s = seen.at - known.unchanged_since
    if seen.fingerprint.size < known.fingerprint.size or gap_s > stall_s:
        return 0.0  # another file under the name, not one that grows
    return max(known.longest_gap_s, gap_s)


def inspect(
    chosen: FileFormat,
    path: Path,
    candidate: Candidate,
    quiet_s: float,
    watch: WatchSettings,
    clock: Callable[[], float],
) -> Arriving | Complete | PartOf | None:
    """Look into a file; while it is written, briefly, and not all the time."""
    grows = candidate.changes >= GROWS
    candidate.thorough = quiet_s >= quiet_needed_s(candidate.longest_gap_s, watch) or not (
        grows and isinstance(chosen, GrowingFileFormat)
    )
    rest = Rest()
    try:
        if isinstance(chosen, GrowingFileFormat) and not candidate.thorough:
            return chosen.inspect_growing(path)
        return chosen.inspect(path)
    finally:
        candidate.not_before = clock() + max(rest.needed_s(), watch.settle_s if grows else 0.0)
