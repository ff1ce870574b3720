"""The files under a watched folder: each decided about as it settles.

::

    seen ──(unchanged for settle_s)──> looked into ──> complete | refused | failed | ours
      ^                                     │
      ├──────────(changed)──────────────────┴── arriving ──(unchanged for stall_s)──> incomplete
      └──(grows)── some of its stacks are whole: they wait, and it goes on arriving
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
from live_restore.formats.file_format import (
    Arriving,
    Complete,
    FileFormat,
    GrowingFileFormat,
)
from live_restore.formats.table import format_for
from live_restore.journal.entry import Entry
from live_restore.journal.states import State
from live_restore.settings.model import FilesSettings, Settings, WatchSettings
from live_restore.sources.completeness import (
    Decision,
    Readiness,
    decide_file,
    judge_stacks,
    quiet_needed_s,
)
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.sources.tree import Seen
from live_restore.stack import Fingerprint, StackKey

log = structlog.get_logger()

_GROWS = 2
"""Changes after which a file is one that keeps being written."""
_REST_PER_CPU_SECOND = 10.0
"""Looking at a file that grows may have a tenth of a core, and half of a slow disk's time."""


@dataclass
class _Candidate:
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

    Attributes
    ----------
    hurry
        Nobody will look much longer: what a file lacks after ``watch.quiet_s``, it lacks.
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
        self.hurry = False
        self._candidates: dict[StackKey, _Candidate] = {}
        self._settled: dict[StackKey, _Settled] = {}
        for entry in known:
            if entry.key.index is not None:  # a stack of an acquisition
                continue
            if entry.state is State.INCOMPLETE:
                # Looked into again, since settings may differ now; its long quiet counts.
                self._candidates[entry.key] = _Candidate(entry.fingerprint, -math.inf)
            elif entry.state is State.ARRIVING or entry.growing:
                self._candidates[entry.key] = _Candidate(entry.fingerprint, clock())
            else:
                self._settled[entry.key] = _Settled(entry.fingerprint)

    def open_questions(self) -> list[StackKey]:
        """Return what is not decided yet."""
        return list(self._candidates)

    def undecided(self) -> int:
        """Return how many files have been quiet for too short a time to decide about.

        Files known to lack planes, that keep changing, or that cannot be opened for a while, are
        not among them.
        """
        now, quiet_s = self._clock(), self._settings.watch.quiet_s
        return sum(
            _is_undecided(each, now, quiet_s, self._settings.files)
            for each in self._candidates.values()
        )

    def observe(self, seen: Seen, *, anew: bool = False) -> None:
        """Take one look at a file into account, and decide about it if that is possible now.

        ``anew``: whatever the journal says about it.
        """
        key, fingerprint = self._key(seen.path), seen.fingerprint
        candidate = self._candidates.get(key)
        if candidate is None:
            known = self._settled.get(key)
            if known is None and not anew and (recorded := self._pending.settled(key)):
                known = _Settled(recorded)
            if known is not None and known.fingerprint == fingerprint and not anew:
                self._settled[key] = known
                return
            self._settled.pop(key, None)
            gap_s = 0.0 if known is None else _gap_s(known, seen, self._settings.watch.stall_s)
            candidate = self._candidates[key] = _Candidate(
                fingerprint, seen.at, gap_s, grown=known is not None
            )
        elif candidate.fingerprint != fingerprint:
            candidate.longest_gap_s = _gap_s(candidate, seen, self._settings.watch.stall_s)
            candidate.fingerprint, candidate.unchanged_since = fingerprint, seen.at
            candidate.evidence, candidate.busy_since = None, None
            candidate.changes += 1
            candidate.grown = True
            self._report_arriving(key, candidate, "being written")
        quiet_s = seen.at - candidate.unchanged_since
        if seen.at < candidate.not_before:
            return
        needed_s = quiet_needed_s(candidate.longest_gap_s, self._settings.watch)
        if candidate.evidence is None or (quiet_s >= needed_s and not candidate.thorough):
            # One that is written all the time is never at rest, and its stacks do not wait for it.
            if quiet_s < self._settings.watch.settle_s and candidate.changes < _GROWS:
                return
            candidate.evidence = self._look_into(key, candidate, quiet_s)
        if candidate.evidence is not None:
            rest = _Rest()
            self._decide(key, candidate, candidate.evidence, quiet_s)
            # Of thousands of stacks even that takes milliseconds.
            candidate.not_before = max(candidate.not_before, self._clock() + rest.needed_s())

    def gone(self, path: Path) -> None:
        """A file is not there any more, or is part of an acquisition."""
        key = self._key(path)
        candidate = self._candidates.pop(key, None)
        if candidate is not None:
            self._pending.add(key, Finding(candidate.fingerprint, None))
            log.info("vanished before it was complete", stack_key=str(key))

    def forget_settled(self, path: Path) -> None:
        """Whatever comes back under this name is not what was settled."""
        self._settled.pop(self._key(path), None)

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
            evidence = _inspect(chosen, path, candidate, quiet_s, self._settings.watch, self._clock)
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
            if quiet_s < self._settings.watch.settle_s:  # seen in the middle of a write
                self._report_arriving(key, candidate, f"so far: {error.what}")
            else:
                self._settle(key, candidate, State.FAILED, error.reason)
            return None
        if evidence is None:  # this program's own result
            self._close(key, candidate)
            self._pending.add(key, Finding(candidate.fingerprint, None))
            return None
        found = evidence.file_stacks.fingerprint if isinstance(evidence, Complete) else None
        if candidate.thorough and found not in (None, candidate.fingerprint):
            return None  # changed while it was looked into; the next look begins anew
        candidate.busy_since = None
        return evidence

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
            growing=candidate.grown,
            hurry=self.hurry,
        )
        if decision.readiness is Readiness.READY:
            self._settle(key, candidate, State.WAITING, decision.reason, decision.stacks)
        elif decision.readiness is Readiness.SOME:
            self._hand_over(key, candidate, decision)
        elif decision.readiness is Readiness.INCOMPLETE:
            self._close(key, candidate)
            finding = Finding(candidate.fingerprint, State.INCOMPLETE, decision.reason)
            self._pending.add(key, finding)
            log.warning("incomplete", stack_key=str(key), reason=decision.reason)
        else:
            self._report_arriving(key, candidate, decision.reason)

    def _hand_over(self, key: StackKey, candidate: _Candidate, decision: Decision) -> None:
        """Let the stacks wait that are whole by now; the file stays an open question."""
        if decision.stacks != candidate.handed_over:
            candidate.handed_over = decision.stacks
            finding = Finding(
                candidate.fingerprint, State.WAITING, decision.reason, decision.stacks
            )
            self._pending.add(key, finding)
            log.info("some stacks are whole", stack_key=str(key), stacks=decision.stacks)

    def _settle(
        self, key: StackKey, candidate: _Candidate, state: State, reason: str, stacks: int = 0
    ) -> None:
        self._close(key, candidate)
        self._pending.add(key, Finding(candidate.fingerprint, state, reason, stacks))
        if state in (State.REFUSED, State.FAILED):
            self._callbacks.on_bad(key, state)
            log.warning(state.value, stack_key=str(key), reason=reason)
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
        if candidate.reported != reason and not candidate.handed_over:
            candidate.reported = reason
            self._pending.add(key, Finding(candidate.fingerprint, State.ARRIVING, reason))

    def _key(self, path: Path) -> StackKey:
        return StackKey(path.relative_to(self._root))


class _Rest:
    """How long a file is left alone after a look that begins now."""

    def __init__(self) -> None:
        self._began, self._worked = time.perf_counter(), time.thread_time()

    def needed_s(self) -> float:
        """Return it (s), now that the look has ended."""
        worked_s = time.thread_time() - self._worked
        return max(time.perf_counter() - self._began, _REST_PER_CPU_SECOND * worked_s)


def _is_undecided(candidate: _Candidate, now: float, quiet_s: float, files: FilesSettings) -> bool:
    if candidate.changes >= 2:
        return False
    if candidate.busy_since is not None:
        return now - candidate.busy_since < quiet_s
    if candidate.evidence is None:
        return True
    return bool(judge_stacks(candidate.evidence, files, finished=True).ready)


def _gap_s(known: _Candidate | _Settled, seen: Seen, stall_s: float) -> float:
    """Return the longest pause (s) of the writer of a file that has changed."""
    if seen.fingerprint == known.fingerprint:
        return known.longest_gap_s
    gap_s = seen.at - known.unchanged_since
    if seen.fingerprint.size < known.fingerprint.size or gap_s > stall_s:
        return 0.0  # another file under the name, not one that grows
    return max(known.longest_gap_s, gap_s)


def _inspect(
    chosen: FileFormat,
    path: Path,
    candidate: _Candidate,
    quiet_s: float,
    watch: WatchSettings,
    clock: Callable[[], float],
) -> Arriving | Complete | None:
    """Look into a file; while it is written, briefly, and not all the time."""
    grows = candidate.changes >= _GROWS
    candidate.thorough = quiet_s >= quiet_needed_s(candidate.longest_gap_s, watch) or not (
        grows and isinstance(chosen, GrowingFileFormat)
    )
    rest = _Rest()
    try:
        if isinstance(chosen, GrowingFileFormat) and not candidate.thorough:
            return chosen.inspect_growing(path)
        return chosen.inspect(path)
    finally:
        candidate.not_before = clock() + max(rest.needed_s(), watch.settle_s if grows else 0.0)
