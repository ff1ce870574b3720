"""The folder source: a scan is the truth, file events only shorten the wait.

Watchers lose events (8 to 25 % at bulk-copy rates), network shares send none, and nobody reports
what was there before: so every decision comes from looking at the folder, and an event does no
more than say where to look first.
"""

from __future__ import annotations

import math
import stat
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.raw_data import names_in
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import Arriving, Complete, FileFormat
from live_restore.formats.table import format_for
from live_restore.journal.journal import Journal, State
from live_restore.settings.model import Settings
from live_restore.sources.acquisitions import Acquisitions
from live_restore.sources.completeness import Verdict, decide, quiet_needed_s
from live_restore.sources.pending import Finding, PendingRecords
from live_restore.sources.tree import Seen, Tree
from live_restore.stack import Fingerprint

log = structlog.get_logger()

# While something arrives it is looked at this often; a look at an unchanged file is one stat().
_ARRIVING_POLL_S = 0.1


@dataclass
class _Candidate:
    """A file that is not decided yet."""

    fingerprint: Fingerprint
    unchanged_since: float
    longest_gap_s: float = 0.0
    evidence: Arriving | Complete | None = None
    told: str = ""
    changes: int = 0
    busy_since: float | None = None
    not_before: float = -math.inf


@dataclass(frozen=True)
class _Settled:
    """A file that is decided: how it was, since when, and how long its writer has paused (s)."""

    fingerprint: Fingerprint
    unchanged_since: float = -math.inf
    longest_gap_s: float = 0.0


class FolderSource:
    """Finds files under ``root``, decides which are complete, and tells the journal.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats, dataset_formats
        Formats of files, and of data set folders, to look for.
    journal
        Where verdicts go; what it already knows is not looked at again.
    settings
        Sections ``watch``, ``files`` and ``output`` are used.
    on_bad
        Called with the file and FAILED or REFUSED when it turns out to be damaged or no stack.
    warn
        Called with what a person should know at once.
    stopping
        Whether to leave off where it is; asked after every file.
    clock
        The time (monotonic s).
    thread_clock
        The processor time that this thread has used (s).
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[FileFormat],
        acquisition_formats: Sequence[AcquisitionFormat],
        journal: Journal,
        settings: Settings,
        on_bad: Callable[[Path, State], None] = lambda _, __: None,
        warn: Callable[[str], None] = lambda _: None,
        stopping: Callable[[], bool] = lambda: False,
        clock: Callable[[], float] = time.monotonic,
        thread_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        self._root = root
        self._stopping = stopping
        self._thread_clock = thread_clock
        self._on_bad = on_bad
        self._clock = clock
        self._formats = formats
        self._journal = journal
        self._settings = settings
        self._candidates: dict[Path, _Candidate] = {}
        self._settled: dict[Path, _Settled] = {}
        self._pending = PendingRecords(journal, clock)
        self._acquisitions = Acquisitions(
            root, acquisition_formats, journal, self._pending, settings, on_bad, warn, clock
        )
        for entry in journal.entries():
            if entry.stack_index is not None:  # a stack of a data set
                continue
            if entry.state is State.INCOMPLETE:
                # Looked into again, since settings may say otherwise now; its long quiet counts.
                self._candidates[entry.source] = _Candidate(entry.fingerprint, -math.inf)
            elif entry.state is State.ARRIVING:
                self._candidates[entry.source] = _Candidate(entry.fingerprint, clock())
            else:
                self._settled[entry.source] = _Settled(entry.fingerprint)
        self._anew: set[Path] = set()
        self._hints: set[Path] = set()
        self._hint_lock = threading.Lock()
        self._wake = threading.Event()
        self._next_scan = -math.inf
        self._tree = Tree(
            root, formats, settings, warn, stopping, self._acquisitions.recognises, clock
        )
        # When the folders above a new file were last asked whether they are data sets.
        self._asked: dict[Path, float] = {}

    def hint(self, path: Path) -> None:
        """Something may have happened to ``path``."""
        with self._hint_lock:
            self._hints.add(path)
        self._wake.set()

    def wait(self, timeout_s: float) -> None:
        """Sleep until a hint arrives."""
        self._wake.wait(timeout_s)

    def undecided(self) -> int:
        """Return how many files and stacks have been quiet for too short a time to decide about.

        Files known to lack planes, that keep changing, or that cannot be opened for a while, are
        not among them.
        """
        files = sum(1 for c in self._candidates.values() if self._is_undecided(c))
        return files + self._acquisitions.undecided()

    def _is_undecided(self, candidate: _Candidate) -> bool:
        if candidate.changes >= 2:
            return False
        if candidate.busy_since is not None:
            return self._clock() - candidate.busy_since < self._settings.watch.quiet_s
        if isinstance(candidate.evidence, Complete):
            return not candidate.evidence.blank_planes
        return candidate.evidence is None

    def poll(self, *, hurry: bool = False) -> float:
        """Look once and return when to look again (s from now).

        Parameters
        ----------
        hurry
            Nobody will look much longer: a run in which nothing has arrived for ``watch.quiet_s``
            counts as over.

        Raises
        ------
        JournalError
            What was found could not be recorded just now; the next call tries again.
        """
        self._wake.clear()
        self._pending.record()  # what the last call could not, before more is gathered
        began = self._clock()
        if began >= self._next_scan:
            worked = self._thread_clock()
            self._scan()
            took, worked = self._clock() - began, self._thread_clock() - worked
            # A scan of a huge or slow tree must not become all that this program does; and while
            # nothing arrives, scans may have a third of a per cent of a core.
            rest = max(20 * took, 0.0 if self._candidates else 300 * worked)
            self._next_scan = began + max(self._settings.watch.scan_interval_s, rest)
        with self._hint_lock:
            hints, self._hints = self._hints, set()
            anew, self._anew = self._anew, set()
        for source in anew:
            if not self._acquisitions.reconsider(source):
                self._look(self._root / source, anew=True)
        for path in [*hints, *(self._root / p for p in list(self._candidates))]:
            if self._stopping():
                break
            self._look(path)
        next_stack_s = self._acquisitions.poll(hurry=hurry, stopping=self._stopping)
        self._pending.record()
        until_scan = min(max(0.0, self._next_scan - self._clock()), next_stack_s)
        return min(until_scan, _ARRIVING_POLL_S) if self._candidates else until_scan

    # Finding ----------------------------------------------------------------------------------

    def _scan(self) -> None:
        self._tree.begin()
        found = sorted(self._tree.files(self._root), key=lambda f: (f.fingerprint.mtime_ns, f.path))
        for seen in found:
            if self._stopping():
                return
            self._observe(seen)
        if self._stopping():  # what was not seen may well be there
            return
        present = {seen.path.relative_to(self._root) for seen in found}
        for source in [s for s in self._candidates if s not in present]:
            self._gone(source)
        # Memory must not grow with all that ever was here. What comes back (a share that was
        # away) is known to the journal, which is asked before a file counts as new.
        for source in [s for s in self._settled if s not in present]:
            settled = self._settled.pop(source)
            if self._acquisitions.holds(self._root / source):
                self._pending.add(source, Finding(settled.fingerprint, None))
        self._asked.clear()
        self._tree.forget_vanished()

    def _look(self, path: Path, *, anew: bool = False) -> None:
        """Look at one path that an event or an open question named.

        ``anew``: whatever the journal says about it.
        """
        try:
            source = path.relative_to(self._root)
        except ValueError:
            return
        if self._acquisitions.holds(path):
            if source in self._candidates:
                self._gone(source)
            return
        try:
            status = path.lstat()
        except OSError:
            if source in self._candidates:
                self._gone(source)
            elif anew:  # on a share that went away: what comes back is not what was settled
                self._settled.pop(source, None)
            return
        folders = [self._root.joinpath(*source.parts[:i]) for i in range(1, len(source.parts))]
        if not all(self._tree.is_input_folder(f) and not f.is_symlink() for f in folders):
            return
        if stat.S_ISDIR(status.st_mode):
            if self._settings.watch.recursive and self._tree.is_input_folder(path):
                for seen in self._tree.files(path):
                    self._observe(seen)
        elif stat.S_ISREG(status.st_mode) and self._tree.is_input_name(path):
            self._observe(self._tree.seen(path, status), anew=anew)

    # Deciding ---------------------------------------------------------------------------------

    def _observe(self, seen: Seen, *, anew: bool = False) -> None:
        source, fingerprint = seen.path.relative_to(self._root), seen.fingerprint
        candidate = self._candidates.get(source)
        if candidate is None:
            known = self._settled.get(source) or (None if anew else self._recall(source))
            if known is not None and known.fingerprint == fingerprint and not anew:
                self._settled[source] = known
                return
            self._settled.pop(source, None)
            gap_s = 0.0 if known is None else self._gap_s(known, seen)
            candidate = self._candidates[source] = _Candidate(fingerprint, seen.at, gap_s)
        elif candidate.fingerprint != fingerprint:
            candidate.longest_gap_s = self._gap_s(candidate, seen)
            candidate.fingerprint, candidate.unchanged_since = fingerprint, seen.at
            candidate.evidence, candidate.busy_since = None, None
            candidate.changes += 1
            self._tell(source, candidate, "being written")
        quiet_s = seen.at - candidate.unchanged_since
        if quiet_s < self._settings.watch.settle_s or seen.at < candidate.not_before:
            return
        if candidate.evidence is None and not self._inspect(source, candidate, quiet_s):
            return
        assert candidate.evidence is not None
        decision = decide(
            candidate.evidence,
            quiet_s,
            self._settings.watch,
            self._settings.files,
            candidate.longest_gap_s,
        )
        if decision.verdict is Verdict.READY:
            assert isinstance(candidate.evidence, Complete)
            stacks = candidate.evidence.file_stacks.stack_count
            self._settle(source, candidate, State.WAITING, "", stacks)
        elif decision.verdict is Verdict.INCOMPLETE:
            self._close(source, candidate)
            self._pending.add(source, Finding(fingerprint, State.INCOMPLETE, decision.reason))
            log.warning("incomplete", stack_key=str(source), reason=decision.reason)
        else:
            self._tell(source, candidate, decision.reason)

    def _inspect(self, source: Path, candidate: _Candidate, quiet_s: float) -> bool:
        """Find the evidence; return False if the file is settled or gone without any."""
        path = self._root / source
        if self._is_part_of_acquisition(path):
            self._gone(source)
            return False
        chosen = format_for(path, self._formats)
        assert chosen is not None
        try:
            evidence = chosen.inspect(path)
        except StackChangedError:
            self._gone(source)
            return False
        except StackBusyError as error:
            now = self._clock()
            if candidate.busy_since is None:
                candidate.busy_since = now
                # Counts as failed until it can be read after all: --once must not call it good.
                self._on_bad(source, State.FAILED)
                log.warning("cannot be read just now", stack_key=str(source), reason=error.reason)
            # Whoever holds it must not be bothered ten times a second.
            candidate.not_before = now + self._settings.watch.scan_interval_s
            self._tell(source, candidate, error.reason)
            return False
        except StackRefusedError as error:
            # A file that grows plane by plane looks like a single plane at first.
            if quiet_s < quiet_needed_s(candidate.longest_gap_s, self._settings.watch):
                self._tell(source, candidate, f"so far: {error.what}")
            else:
                self._settle(source, candidate, State.REFUSED, error.reason)
            return False
        except StackUnreadableError as error:
            self._settle(source, candidate, State.FAILED, error.reason)
            return False
        if evidence is None:  # this program's own result
            self._close(source, candidate)
            self._pending.add(source, Finding(candidate.fingerprint, None))
            return False
        if (
            isinstance(evidence, Complete)
            and evidence.file_stacks.fingerprint != candidate.fingerprint
        ):
            return False  # changed while it was looked into; the next look begins anew
        candidate.evidence, candidate.busy_since = evidence, None
        return True

    def _is_part_of_acquisition(self, path: Path) -> bool:
        """Return whether a file belongs to a data set that has only just begun.

        Asked before a file is opened for the first time: file events come before the next scan.
        """
        for folder in reversed(path.parents[: len(path.relative_to(self._root).parts)]):
            now = self._clock()
            if now - self._asked.get(folder, -math.inf) < self._settings.watch.settle_s:
                continue
            self._asked[folder] = now
            try:
                files, folders = names_in(folder)
            except StackError:
                continue  # gone, or not to be listed just now; the next scan asks again
            if self._acquisitions.recognises(folder, [*files, *folders]):
                return True
        return False

    def _settle(
        self, source: Path, candidate: _Candidate, state: State, reason: str, stacks: int = 0
    ) -> None:
        self._close(source, candidate)
        self._pending.add(source, Finding(candidate.fingerprint, state, reason, stacks))
        if state in (State.REFUSED, State.FAILED):
            self._on_bad(source, state)
            log.warning(state.value, stack_key=str(source), reason=reason)
        else:
            log.info("complete", stack_key=str(source), stacks=stacks)

    def _close(self, source: Path, candidate: _Candidate) -> None:
        """Decided: keep of it only what tells whether it goes on growing."""
        self._settled[source] = _Settled(
            candidate.fingerprint, candidate.unchanged_since, candidate.longest_gap_s
        )
        del self._candidates[source]

    def _gap_s(self, known: _Candidate | _Settled, seen: Seen) -> float:
        """Return the longest pause (s) of the writer of a file that has changed."""
        if seen.fingerprint == known.fingerprint:
            return known.longest_gap_s
        gap_s = seen.at - known.unchanged_since
        if seen.fingerprint.size <= known.fingerprint.size or gap_s > self._settings.watch.stall_s:
            return 0.0  # another file under the name, not one that grows
        return max(known.longest_gap_s, gap_s)

    # Telling the journal ----------------------------------------------------------------------

    def _recall(self, source: Path) -> _Settled | None:
        """Return what is known of a file that has not been here since it was last scanned for."""
        fingerprint = self._pending.settled(source)
        return None if fingerprint is None else _Settled(fingerprint)

    def _tell(self, source: Path, candidate: _Candidate, reason: str) -> None:
        """Keep the journal's reason for an arriving file up to date, without a write per look."""
        if candidate.told != reason:
            candidate.told = reason
            self._pending.add(source, Finding(candidate.fingerprint, State.ARRIVING, reason))

    def reconsider(self, source: Path) -> None:
        """Look at a file anew although it was settled: it had changed when it was to be read."""
        with self._hint_lock:
            self._anew.add(source)
        self._wake.set()

    def _gone(self, source: Path) -> None:
        candidate = self._candidates.pop(source)
        self._pending.add(source, Finding(candidate.fingerprint, None))
        log.info("vanished before it was complete", stack_key=str(source))
