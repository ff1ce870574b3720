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
    PartOf,
)
from live_restore.formats.table import format_for
from live_restore.journal.entry import Entry
from live_restore.journal.states import State
from live_restore.settings.model import Settings
from live_restore.sources.completeness import (
    Decision,
    Readiness,
    decide_file,
    quiet_needed_s,
)
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.sources.tree import Seen
from live_restore.sources.watched_file import (
    GROWS,
    Candidate,
    Rest,
    Settled,
    inspect,
    is_undecided,
    next_look_at,
    recalled,
    waits_for_others,
    writers_pause_s,
)
from live_restore.stack import StackKey

log = structlog.get_logger()

# What is older was there, or was copied here: no microscope is writing it.
_JUST_WRITTEN_NS = 2 * 10**9


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
    looked_into_s
        Processor time (s) that looking into files has taken, which has limits of its own: a file
        at rest is looked into once, and one that grows rests after each look.
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
        self.looked_into_s = 0.0
        self._candidates: dict[StackKey, Candidate] = {}
        self._settled: dict[StackKey, Settled] = {}
        self._logged: set[tuple[Path, str]] = set()
        for entry in known:
            if entry.key.index is not None:  # a stack of an acquisition
                continue
            if entry.state is State.INCOMPLETE:
                # Looked into again, since settings may differ now; its long quiet counts.
                self._candidates[entry.key] = Candidate(entry.fingerprint, -math.inf)
            elif entry.state is State.ARRIVING or entry.growing:
                self._candidates[entry.key] = Candidate(entry.fingerprint, clock())
            else:
                self._settled[entry.key] = Settled(entry.fingerprint)

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
        return sum(
            is_undecided(each, now, quiet_s, self._settings.files)
            for each in self._candidates.values()
        )

    def observe(self, seen: Seen, *, anew: bool = False) -> None:
        """Take one look at a file into account, and decide about it if that is possible now.

        ``anew``: whatever the journal says about it.
        """
        key, fingerprint = _key(self._root, seen.path), seen.fingerprint
        candidate = self._candidates.get(key)
        known_as = self._settled.get(key) if candidate is None else candidate
        fresh = time.time_ns() - fingerprint.mtime_ns < _JUST_WRITTEN_NS
        if fresh and (known_as is None or known_as.fingerprint != fingerprint):
            self._callbacks.arrived()
        if candidate is None:
            known = self._settled.get(key) or (None if anew else recalled(self._pending, key))
            if known is not None and known.fingerprint == fingerprint and not anew:
                self._settled[key] = known
                return
            self._settled.pop(key, None)
            gap_s = (
                0.0 if known is None else writers_pause_s(known, seen, self._settings.watch.stall_s)
            )
            candidate = self._candidates[key] = Candidate(
                fingerprint, seen.at, gap_s, grown=known is not None
            )
        elif candidate.fingerprint != fingerprint:
            candidate.longest_gap_s = writers_pause_s(candidate, seen, self._settings.watch.stall_s)
            candidate.fingerprint, candidate.unchanged_since = fingerprint, seen.at
            candidate.evidence, candidate.busy_since = None, None
            candidate.changes += 1
            candidate.grown = True
            self._report_arriving(key, candidate, "being written")
        quiet_s = seen.at - candidate.unchanged_since
        candidate.next_look = next_look_at(candidate, seen.at, self._settings.watch)
        if seen.at < candidate.not_before:
            return
        needed_s = quiet_needed_s(candidate.longest_gap_s, self._settings.watch)
        if (
            candidate.evidence is None
            or waits_for_others(candidate.evidence)
            or (quiet_s >= needed_s and not candidate.thorough)
        ):
            # One that is written all the time is never at rest, and its stacks do not wait for it.
            if quiet_s < self._settings.watch.settle_s and candidate.changes < GROWS:
                return
            into = Rest()
            candidate.evidence = self._look_into(key, candidate, quiet_s)
            self.looked_into_s += into.worked_s()
        if candidate.evidence is not None:
            rest = Rest()
            self._decide(key, candidate, candidate.evidence, quiet_s)
            # Of thousands of stacks even that takes milliseconds.
            candidate.not_before = max(candidate.not_before, self._clock() + rest.needed_s())
            if candidate.changes >= GROWS:
                self.looked_into_s += rest.worked_s()

    def gone(self, path: Path, *, forget: bool = False) -> None:
        """A file is not there any more, or is part of an acquisition.

        ``forget``: whatever comes back under this name is not what was settled.
        """
        key = _key(self._root, path)
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
        self, key: StackKey, candidate: Candidate, quiet_s: float
    ) -> Arriving | Complete | None:
        """Return the evidence; ``None`` if the file is settled, gone, or busy, without any."""
        path = self._root / key.acquisition
        if self._is_part_of_acquisition(path):
            self.gone(path)
            return None
        chosen = format_for(path, self._formats)
        assert chosen is not None
        try:
            evidence = inspect(chosen, path, candidate, quiet_s, self._settings.watch, self._clock)
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
        if isinstance(evidence, PartOf):
            self._look_again(evidence.path)
        if evidence is None or isinstance(evidence, PartOf):  # an own result, or read elsewhere
            self._close(key, candidate)
            self._pending.add(key, Finding(candidate.fingerprint, None))
            return None
        found = evidence.file_stacks.fingerprint if isinstance(evidence, Complete) else None
        if candidate.thorough and found not in (None, candidate.fingerprint):
            return None  # changed while it was looked into; the next look begins anew
        candidate.busy_since = None
        if waits_for_others(evidence):  # which may be many
            candidate.not_before = self._clock() + self._settings.watch.scan_interval_s
        return evidence

    def _look_again(self, path: Path) -> None:
        """A part of the image that ``path`` stands for has arrived: it has not been quiet."""
        key, now = _key(self._root, path), self._clock()
        if key not in self._candidates and self._pending.is_incomplete(key):
            fingerprint = self._pending.settled(key)
            assert fingerprint is not None
            self._settled.pop(key, None)
            self._candidates[key] = Candidate(fingerprint, now)
        candidate = self._candidates.get(key)
        if candidate is not None and waits_for_others(candidate.evidence):
            candidate.unchanged_since, candidate.not_before = now, -math.inf

    def _note_busy(self, key: StackKey, candidate: Candidate, error: StackBusyError) -> None:
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
        self, key: StackKey, candidate: Candidate, evidence: Arriving | Complete, quiet_s: float
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
            detail = {"detail": evidence.detail} if isinstance(evidence, Arriving) else {}
            log.warning("incomplete", stack_key=str(key), reason=decision.reason, **detail)
        else:
            if (
                self.hurry
                and isinstance(evidence, Arriving)
                and candidate.reported != decision.reason
            ):
                log.info("arriving", stack_key=str(key), detail=evidence.detail)
            self._report_arriving(key, candidate, decision.reason)

    def _hand_over(self, key: StackKey, candidate: Candidate, decision: Decision) -> None:
        """Let the stacks wait that are whole by now; the file stays an open question."""
        if decision.stacks != candidate.handed_over:
            candidate.handed_over = decision.stacks
            finding = Finding(
                candidate.fingerprint, State.WAITING, decision.reason, decision.stacks
            )
            self._pending.add(key, finding)
            log.info("some stacks are whole", stack_key=str(key), stacks=decision.stacks)

    def _settle(
        self, key: StackKey, candidate: Candidate, state: State, reason: str, stacks: int = 0
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

    def _close(self, key: StackKey, candidate: Candidate) -> None:
        """Decided: keep of it only what tells whether it goes on growing."""
        self._settled[key] = Settled(
            candidate.fingerprint, candidate.unchanged_since, candidate.longest_gap_s
        )
        del self._candidates[key]

    def _report_arriving(self, key: StackKey, candidate: Candidate, reason: str) -> None:
        """Keep the journal's reason for an arriving file up to date, without a write per look."""
        if candidate.reported != reason and not candidate.handed_over:
            candidate.reported = reason
            self._pending.add(key, Finding(candidate.fingerprint, State.ARRIVING, reason))


def _key(root: Path, path: Path) -> StackKey:
    return StackKey(path.relative_to(root))
