"""The files under a watched folder: each decided about as it settles.

::

    seen ──(unchanged for settle_s)──> looked into ──> complete | refused | failed | ours
      ^                                     │
      └──────────(changed)──────────────────┴── arriving ──(unchanged for stall_s)──> incomplete
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.file_format import Arriving, Complete, FileFormat, PartOf
from live_restore.formats.table import format_for
from live_restore.journal.entry import Entry
from live_restore.journal.states import State
from live_restore.settings.model import Settings, WatchSettings
from live_restore.sources.completeness import Readiness, decide_file, quiet_needed_s
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.sources.tree import Seen
from live_restore.stack import Fingerprint, StackKey

log = structlog.get_logger()

# What is older was there, or was copied here: no microscope is writing it.
_JUST_WRITTEN_NS = 2 * 10**9
# While something arrives it is looked at this often; a look at an unchanged file is one stat().
_SOONEST_S = 0.1
_REST_SHARE = 0.1


@dataclass
class _Candidate:
    """A file that is not decided about yet."""

    fingerprint: Fingerprint
    unchanged_since: float
    longest_gap_s: float = 0.0
    evidence: Arriving | Complete | None = None
    reported: str = ""
    changes: int = 0
    busy_since: float | None = None
    not_before: float = -math.inf
    next_look: float = -math.inf


@dataclass(frozen=True)
class _Settled:
    """A file that is decided: how it was, since when, and how long its writer has paused (s)."""

    fingerprint: Fingerprint
    unchanged_since: float = -math.inf
    longest_gap_s: float = 0.0


class WatchedFiles:
    """Decides which files are complete, and remembers which are settled.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats
        Formats of files to look for.
    known
        What the journal holds already; it is not looked at again unless it has changed.
    pending
        Where decisions go.
    settings
        Sections ``watch`` and ``files`` are used.
    callbacks
        Whom to report to.
    is_part_of_acquisition
        Whether a file belongs to an acquisition that has only just begun.
    clock
        The time (monotonic s).
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[FileFormat],
        known: Iterable[Entry],
        pending: PendingFindings,
        settings: Settings,
        callbacks: Callbacks,
        is_part_of_acquisition: Callable[[Path], bool],
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._formats = formats
        self._pending = pending
        self._settings = settings
        self._callbacks = callbacks
        self._is_part_of_acquisition = is_part_of_acquisition
        self._clock = clock
        self._candidates: dict[StackKey, _Candidate] = {}
        self._settled: dict[StackKey, _Settled] = {}
        self._logged: set[tuple[Path, str]] = set()
        for entry in known:
            if entry.key.index is not None:  # a stack of an acquisition
                continue
            if entry.state is State.INCOMPLETE:
                # Looked into again, since settings may differ now; its long quiet counts.
                self._candidates[entry.key] = _Candidate(entry.fingerprint, -math.inf)
            elif entry.state is State.ARRIVING:
                self._candidates[entry.key] = _Candidate(entry.fingerprint, clock())
            else:
                self._settled[entry.key] = _Settled(entry.fingerprint)

    def open_questions(self) -> list[StackKey]:
        """Return what is not decided yet."""
        return list(self._candidates)

    def due(self) -> list[StackKey]:
        """Return what is to be looked at again now, what was quiet for the shortest time first.

        What has been quiet for long is looked at rarely: of what happens to it the next scan tells,
        and an event.
        """
        now = self._clock()
        due = [key for key, each in self._candidates.items() if each.next_look <= now]
        return sorted(due, key=lambda key: -self._candidates[key].unchanged_since)

    def undecided(self) -> int:
        """Return how many files have been quiet for too short a time to decide about.

        Files known to lack planes, that keep changing, or that cannot be opened for a while, are
        not among them.
        """
        now, quiet_s = self._clock(), self._settings.watch.quiet_s
        return sum(_is_undecided(each, now, quiet_s) for each in self._candidates.values())

    def observe(self, seen: Seen, *, anew: bool = False) -> None:
        """Take one look at a file into account, and decide about it if that is possible now.

        ``anew``: whatever the journal says about it.
        """
        key, fingerprint = self._key(seen.path), seen.fingerprint
        candidate = self._candidates.get(key)
        known_as = self._settled.get(key) if candidate is None else candidate
        fresh = time.time_ns() - fingerprint.mtime_ns < _JUST_WRITTEN_NS
        if fresh and (known_as is None or known_as.fingerprint != fingerprint):
            self._callbacks.arrived()
        if candidate is None:
            known = self._settled.get(key) or (None if anew else _recalled(self._pending, key))
            if known is not None and known.fingerprint == fingerprint and not anew:
                self._settled[key] = known
                return
            self._settled.pop(key, None)
            gap_s = 0.0 if known is None else _gap_s(known, seen, self._settings.watch.stall_s)
            candidate = self._candidates[key] = _Candidate(fingerprint, seen.at, gap_s)
        elif candidate.fingerprint != fingerprint:
            candidate.longest_gap_s = _gap_s(candidate, seen, self._settings.watch.stall_s)
            candidate.fingerprint, candidate.unchanged_since = fingerprint, seen.at
            candidate.evidence, candidate.busy_since = None, None
            candidate.changes += 1
            self._report_arriving(key, candidate, "being written")
        quiet_s = seen.at - candidate.unchanged_since
        candidate.next_look = _next_look(candidate, seen.at, self._settings.watch)
        if quiet_s < self._settings.watch.settle_s or seen.at < candidate.not_before:
            return
        if candidate.evidence is None or _waits_for_others(candidate.evidence):
            candidate.evidence = self._look_into(key, candidate, quiet_s)
        if candidate.evidence is not None:
            self._decide(key, candidate, candidate.evidence, quiet_s)

    def gone(self, path: Path, *, forget: bool = False) -> None:
        """A file is not there any more, or is part of an acquisition.

        ``forget``: whatever comes back under this name is not what was settled.
        """
        key = self._key(path)
        if forget:
            self._settled.pop(key, None)
        candidate = self._candidates.pop(key, None)
        if candidate is not None:
            self._pending.add(key, Finding(candidate.fingerprint, None))
            log.info("vanished before it was complete", stack_key=str(key))

    def keep_only(self, present: set[Path], part_of_acquisition: Callable[[Path], bool]) -> None:
        """Compare with a whole scan: what it did not meet is not there.

        Memory must not grow with all that ever was here. What comes back (a share that was away)
        is known to the journal, which is asked before a file counts as new.
        """
        for key in [k for k in self._candidates if self._root / k.acquisition not in present]:
            self.gone(self._root / key.acquisition)
        for key in [k for k in self._settled if self._root / k.acquisition not in present]:
            settled = self._settled.pop(key)
            if part_of_acquisition(self._root / key.acquisition):
                self._pending.add(key, Finding(settled.fingerprint, None))

    # Looking into a file ----------------------------------------------------------------------

    def _look_into(
        self, key: StackKey, candidate: _Candidate, quiet_s: float
    ) -> Arriving | Complete | None:
        """Return the evidence; ``None`` if the file is settled, gone, or busy, without any."""
        path = self._root / key.acquisition
        if self._is_part_of_acquisition(path):
            self.gone(path)
            return None
        chosen = format_for(path, self._formats)
        assert chosen is not None
        try:
            evidence = chosen.inspect(path)
        except StackChangedError:
            self.gone(path)
            return None
        except StackBusyError as error:
            self._note_busy(key, candidate, error)
            return None
        except StackRefusedError as error:
            # A file that grows plane by plane looks like a single plane at first.
            if quiet_s < quiet_needed_s(candidate.longest_gap_s, self._settings.watch):
                self._report_arriving(key, candidate, f"so far: {error.what}")
            else:
                self._settle(key, candidate, State.REFUSED, error.reason)
            return None
        except StackUnreadableError as error:
            self._settle(key, candidate, State.FAILED, error.reason)
            return None
        if isinstance(evidence, PartOf):
            self._look_again(evidence.path)
        if evidence is None or isinstance(evidence, PartOf):  # an own result, or read elsewhere
            self._close(key, candidate)
            self._pending.add(key, Finding(candidate.fingerprint, None))
            return None
        found = evidence.file_stacks.fingerprint if isinstance(evidence, Complete) else None
        if found not in (None, candidate.fingerprint):
            return None  # changed while it was looked into; the next look begins anew
        candidate.busy_since = None
        if _waits_for_others(evidence):  # which may be many
            candidate.not_before = self._clock() + self._settings.watch.scan_interval_s
        return evidence

    def _look_again(self, path: Path) -> None:
        """A part of the image that ``path`` stands for has arrived: it has not been quiet."""
        key, now = self._key(path), self._clock()
        if key not in self._candidates and self._pending.is_incomplete(key):
            fingerprint = self._pending.settled(key)
            assert fingerprint is not None
            self._settled.pop(key, None)
            self._candidates[key] = _Candidate(fingerprint, now)
        candidate = self._candidates.get(key)
        if candidate is not None and _waits_for_others(candidate.evidence):
            candidate.unchanged_since, candidate.not_before = now, -math.inf

    def _note_busy(self, key: StackKey, candidate: _Candidate, error: StackBusyError) -> None:
        now = self._clock()
        if candidate.busy_since is None:
            candidate.busy_since = now
            # Counts as failed until it can be read after all: --once must not call it good.
            self._callbacks.on_bad(key, State.FAILED)
            log.warning("cannot be read just now", stack_key=str(key), reason=error.reason)
        # Whoever holds it must not be bothered ten times a second.
        candidate.not_before = now + self._settings.watch.scan_interval_s
        self._report_arriving(key, candidate, error.reason)

    # Deciding ---------------------------------------------------------------------------------

    def _decide(
        self, key: StackKey, candidate: _Candidate, evidence: Arriving | Complete, quiet_s: float
    ) -> None:
        decision = decide_file(
            evidence,
            quiet_s,
            self._settings.watch,
            self._settings.files,
            candidate.longest_gap_s,
        )
        if decision.readiness is Readiness.READY:
            assert isinstance(evidence, Complete)
            stacks = evidence.file_stacks.stack_count
            self._settle(key, candidate, State.WAITING, "", stacks)
        elif decision.readiness is Readiness.INCOMPLETE:
            self._close(key, candidate)
            finding = Finding(candidate.fingerprint, State.INCOMPLETE, decision.reason)
            self._pending.add(key, finding)
            log.warning("incomplete", stack_key=str(key), reason=decision.reason)
        else:
            self._report_arriving(key, candidate, decision.reason)

    def _settle(
        self, key: StackKey, candidate: _Candidate, state: State, reason: str, stacks: int = 0
    ) -> None:
        self._close(key, candidate)
        self._pending.add(key, Finding(candidate.fingerprint, state, reason, stacks))
        if state in (State.REFUSED, State.FAILED):
            self._callbacks.on_bad(key, state)
            # A folder of a thousand single planes is one line, not a thousand.
            kind = (key.acquisition.parent, reason)
            say = log.debug if kind in self._logged else log.warning
            self._logged.add(kind)
            say(state.value, stack_key=str(key), reason=reason)
        else:
            log.info("complete", stack_key=str(key), stacks=stacks)

    def _close(self, key: StackKey, candidate: _Candidate) -> None:
        """Decided: keep of it only what tells whether it goes on growing."""
        self._settled[key] = _Settled(
            candidate.fingerprint, candidate.unchanged_since, candidate.longest_gap_s
        )
        del self._candidates[key]

    def _report_arriving(self, key: StackKey, candidate: _Candidate, reason: str) -> None:
        """Keep the journal's reason for an arriving file up to date, without a write per look."""
        if candidate.reported != reason:
            candidate.reported = reason
            self._pending.add(key, Finding(candidate.fingerprint, State.ARRIVING, reason))

    def _key(self, path: Path) -> StackKey:
        return StackKey(path.relative_to(self._root))


def _next_look(candidate: _Candidate, now: float, watch: WatchSettings) -> float:
    """Return when to look again: after a tenth of its quiet, and when something falls due."""
    quiet_s = now - candidate.unchanged_since
    needed_s = quiet_needed_s(candidate.longest_gap_s, watch)
    rest_s = max(_SOONEST_S, _REST_SHARE * quiet_s)
    if _waits_for_others(candidate.evidence):  # whose arrival shows in them alone
        rest_s = min(rest_s, watch.scan_interval_s)
    until = [each - quiet_s for each in (watch.settle_s, needed_s, watch.stall_s)]
    return now + min([rest_s, *(each for each in until if each > 0)])


def _recalled(pending: PendingFindings, key: StackKey) -> _Settled | None:
    """Return what is known of a file that has not been here since it was last scanned for."""
    fingerprint = pending.settled(key)
    return None if fingerprint is None else _Settled(fingerprint)


def _is_undecided(candidate: _Candidate, now: float, quiet_s: float) -> bool:
    if candidate.changes >= 2:
        return False
    if candidate.busy_since is not None:
        return now - candidate.busy_since < quiet_s
    if isinstance(candidate.evidence, Complete):
        return not candidate.evidence.blank_planes
    return candidate.evidence is None


def _waits_for_others(evidence: Arriving | Complete | None) -> bool:
    return isinstance(evidence, Arriving) and evidence.waits_for_others


def _gap_s(known: _Candidate | _Settled, seen: Seen, stall_s: float) -> float:
    """Return the longest pause (s) of the writer of a file that has changed."""
    if seen.fingerprint == known.fingerprint:
        return known.longest_gap_s
    gap_s = seen.at - known.unchanged_since
    if seen.fingerprint.size <= known.fingerprint.size or gap_s > stall_s:
        return 0.0  # another file under the name, not one that grows
    return max(known.longest_gap_s, gap_s)
