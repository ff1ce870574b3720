"""One data set under a watched folder: each of its stacks told to the journal as it completes.

What is complete is said by the evidence of its format; what will never be, by the end of its run::

    the format's own end marker, held for two seconds        or
    nothing has arrived for watch.stall_s                     (files have the same patience)
    nothing has arrived for watch.quiet_s                     where nobody waits longer (--once)
"""

from __future__ import annotations

import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import structlog

from live_restore.errors import StackIncompleteError, StackUnreadableError
from live_restore.files.naming import stack_report_path
from live_restore.formats.acquisition_format import AcquisitionState, StackEvidence
from live_restore.formats.following import Following
from live_restore.journal.journal import Entry, Journal, State
from live_restore.outputs.result import restored_pixels
from live_restore.settings.model import Settings
from live_restore.sources.completeness import quiet_needed_s
from live_restore.sources.pending import Finding, PendingRecords
from live_restore.sources.stack_completeness import judge
from live_restore.stack import Fingerprint, StackIndex

log = structlog.get_logger()

BUSY_POLL_S = 0.1
"""A data set in which something moves is looked at this often (s)."""
END_HELD_S = 2.0
"""Between two files of one run an end marker may be there for a moment (s)."""
# One that rests is looked at after a tenth of its rest: what has slept for long is found a little
# later, and costs next to nothing.
_REST_SHARE = 0.1
# Looking into a folder of very many files takes long; it must not keep the disk from the writer.
_LOOKS_REST = 10.0
# One whose run is over is only looked at in case somebody appends to it after all.
_SCANS_WHEN_OVER = 10
# Files of one data set that are asked for their time when it is met.
_FILES_DATED = 10_000
_NO_FINGERPRINT = Fingerprint(0, 0)

_SETTLED = frozenset((State.WAITING, State.RUNNING, State.DONE, State.FAILED, State.REFUSED))


@dataclass
class _Known:
    """A stack as it was told to the journal."""

    fingerprint: Fingerprint
    state: State
    reason: str | None = None


class WatchedAcquisition:
    """Looks at one data set again and again.

    Parameters
    ----------
    following
        The data set.
    source
        Its folder, relative to the watched one.
    journal, notes
        What is known, and where verdicts go.
    settings
        Sections ``watch`` and ``files`` are used.
    on_bad
        Called with the source and FAILED or REFUSED.
    warn
        Called with what a person should know at once.
    found_at
        When its folder was recognised (monotonic s).

    Attributes
    ----------
    next_look
        When to look again (monotonic s).
    """

    def __init__(
        self,
        following: Following,
        source: Path,
        journal: Journal,
        pending: PendingRecords,
        settings: Settings,
        on_bad: Callable[[Path, State], None],
        warn: Callable[[str], None],
        found_at: float,
    ) -> None:
        self._following = following
        self._source = source
        self._journal = journal
        self._pending = pending
        self._watch = settings.watch
        self._partial = settings.files.partial_stacks
        self._on_bad = on_bad
        self._warn = warn
        self._found_at = found_at
        self.next_look = found_at
        self._looked_at, self._look_s = -math.inf, 0.0
        self._polled = False
        self._stacks: dict[StackIndex, _Known] = {}
        self._rows: Mapping[StackIndex, Entry] = {}
        self._on_disk_ns = 0
        self._moved_at = found_at
        self._moves = 0
        self._longest_gap_s = 0.0
        self._ended_since: float | None = None
        self._final = False
        self._written_ns, self._written_since = 0, math.inf
        self._trouble = ""
        self._problems: set[str] = set()

    @property
    def folder(self) -> Path:
        """Its folder (absolute)."""
        return self._following.folder

    def wake(self) -> None:
        """Look soon, but never so often that looking is all that is done."""
        earliest = self._looked_at + max(BUSY_POLL_S, _LOOKS_REST * self._look_s)
        self.next_look = min(self.next_look, earliest)

    def looked(self, began: float, took_s: float) -> None:
        """Take down how long the last look took."""
        self._looked_at, self._look_s = began, took_s
        self.next_look = max(self.next_look, began + _LOOKS_REST * took_s)

    def undecided(self) -> int:
        """Return how many stacks only need a little more quiet to be decided about.

        None of a data set that keeps growing, or that cannot be used.
        """
        if self._final or self._trouble or self._moves >= 2:
            return 0
        if not self._polled:
            return 1
        return sum(known.state is State.ARRIVING for known in self._stacks.values())

    def reconsider(self, stack_index: StackIndex) -> None:
        """A stack was not there as it was found: leave it as it is, unless planes are added."""
        if stack_index in self._stacks:
            self._stacks[stack_index].state = State.FAILED
        self.wake()

    def leave(self) -> None:
        """Say that it is not there any more; what is done stays done."""
        for stack_index, known in self._stacks.items():
            self._pending.add(self._source / stack_index.label, Finding(known.fingerprint, None))
        self._untrouble()
        log.info("data set left", folder=str(self.folder))

    def trouble(self, now: float, state: State, reason: str) -> None:
        """Say that it cannot be used (REFUSED), or not just now (ARRIVING)."""
        self.next_look = now + self._watch.scan_interval_s
        if self._trouble != reason:
            self._trouble = reason
            self._pending.add(self._source, Finding(_NO_FINGERPRINT, state, reason))
            # Counts as failed until it can be read after all: --once must not call it good.
            self._on_bad(self._source, state if state is State.REFUSED else State.FAILED)
            log.warning("data set", stack_key=str(self._source), reason=reason)

    def _untrouble(self) -> None:
        if self._trouble:
            self._trouble = ""
            self._pending.add(self._source, Finding(_NO_FINGERPRINT, None))

    def look(self, now: float, *, hurry: bool) -> None:
        """Look once and tell what is new.

        Parameters
        ----------
        now
            The time (monotonic s).
        hurry
            Take the run for over after a short quiet.

        Raises
        ------
        StackChangedError, StackBusyError, StackUnreadableError
            As ``Follower.poll``.
        JournalError
            The journal could not be asked; look again later.
        """
        if now - self._found_at < self._watch.settle_s:
            # A position's folder may look like a run of its own until its run's is recognised.
            self.next_look = self._found_at + self._watch.settle_s
            return
        first = not self._polled
        state = self._following.poll()
        if first:
            self._begin(state, now)
        moved = self._take_in(state, first)
        if moved:
            self._note_move(now, first)
        if moved or not state.ended:
            self._ended_since = None
        if state.ended and self._ended_since is None:
            self._ended_since = now
        quiet_s = now - self._moved_at
        end_held = self._ended_since is not None and now - self._ended_since >= END_HELD_S
        pending = self._unsettled(state)
        calm = self._is_calm([state.stacks[each] for each in pending], now)
        patience_s = self._watch.quiet_s if hurry else self._watch.stall_s
        self._final = calm and (end_held or quiet_s >= patience_s)
        over = bool(state.ended)
        if pending and not over and quiet_s >= quiet_needed_s(self._longest_gap_s, self._watch):
            # A script's run does not say how many planes it will have: after a pause longer than
            # its pauses so far, a stack as large as the others is as good as complete.
            over = True
            state = self._following.poll(over=True)
            if self._take_in(state, first=False):
                self._note_move(now, first=False)
                return  # it has not been quiet: the next look judges anew
        for stack_index in sorted(pending, key=_in_order):
            self._judge(stack_index, state.stacks[stack_index], over, calm)
        self._tell_problems(state, now)
        self.next_look = now + self._rest_s(quiet_s)

    def _rest_s(self, quiet_s: float) -> float:
        scan_s = self._watch.scan_interval_s
        if self._final:
            return _SCANS_WHEN_OVER * scan_s
        return min(max(BUSY_POLL_S, _REST_SHARE * quiet_s), scan_s)

    def _begin(self, state: AcquisitionState, now: float) -> None:
        """Remember what the journal knows, unless another run was recorded under the name."""
        rows = self._journal.stacks_in(self._source)
        times_ns = list(islice(_times_ns(self.folder, 1), _FILES_DATED))
        finished = [row.finished_at for row in rows.values() if row.finished_at is not None]
        newer = finished and times_ns and min(times_ns) / 1e9 > max(finished)
        if newer and not self._is_the_same_run(state, rows):
            rows = {}  # all of it is work again; a result of the very same pixels will do
        self._rows = rows
        self._on_disk_ns = min(max(times_ns, default=0), time.time_ns())
        self._moved_at = now
        self._polled = True

    def _is_the_same_run(self, state: AcquisitionState, rows: Mapping[StackIndex, Entry]) -> bool:
        """Return whether the first stack that is done was made of the pixels that are there now.

        All files being newer than all results is no proof: a run that was followed and is still
        going on, in one large file, looks so too.
        """
        done = sorted(stack_index for stack_index, row in rows.items() if row.state is State.DONE)
        for stack_index in done[:1]:
            known = restored_pixels(
                stack_report_path(Path(rows[stack_index].result), stack_index.label)
            )
            if known is None or stack_index not in state.stacks:
                return False
            try:
                volume = self._following.read(stack_index)
            except (StackIncompleteError, StackUnreadableError):
                return False
            return zlib.crc32(np.ascontiguousarray(volume).data) == known
        return True

    def _note_move(self, now: float, first: bool) -> None:
        if not first:
            gap_s = now - self._moved_at
            if gap_s <= self._watch.stall_s:
                self._longest_gap_s = max(self._longest_gap_s, gap_s)
            self._moves += 1
        self._moved_at = now
        self.next_look = now + BUSY_POLL_S

    def _take_in(self, state: AcquisitionState, first: bool) -> bool:
        """Take down the stacks that are new or have grown; return whether there are any."""
        info = state.info
        if info.dtype is None or info.shape_yx is None:
            return False
        plane_bytes = info.shape_yx[0] * info.shape_yx[1] * info.dtype.itemsize
        now_ns = self._on_disk_ns if first else time.time_ns()
        moved = False
        for stack_index, evidence in state.stacks.items():
            size = len(evidence.present) * plane_bytes
            known = self._stacks.get(stack_index)
            if known is not None and known.fingerprint.size == size:
                continue
            moved = True
            row = self._rows.get(stack_index) if known is None else None
            if row is not None and row.fingerprint.size == size:
                self._stacks[stack_index] = _Known(row.fingerprint, row.state, row.reason)
            else:
                fingerprint = Fingerprint.in_range(size, now_ns)
                self._stacks[stack_index] = _Known(fingerprint, State.ARRIVING)
        return moved

    # Deciding -------------------------------------------------------------------------------------

    def _unsettled(self, state: AcquisitionState) -> list[StackIndex]:
        return [
            stack_index
            for stack_index in state.stacks
            if (known := self._stacks.get(stack_index)) and known.state not in _SETTLED
        ]

    def _judge(
        self, stack_index: StackIndex, evidence: StackEvidence, over: bool, calm: bool
    ) -> None:
        known = self._stacks[stack_index]
        state, reason = judge(
            evidence,
            taken_as_over=over,
            final=self._final,
            calm=calm,
            partial=self._partial,
        )
        if state is State.ARRIVING and known.state is State.INCOMPLETE:
            return  # found so before; nothing has arrived since
        if (state, reason) == (known.state, known.reason):
            return
        source = self._source / stack_index.label
        known.state, known.reason = state, reason
        self._pending.add(
            source, Finding(known.fingerprint, state, reason, int(state is State.WAITING))
        )
        if state is State.WAITING:
            log.info("complete", stack_key=str(source), stacks=1)
        elif state is not State.ARRIVING:
            log.warning(state.value, stack_key=str(source), reason=reason)
        if state is State.REFUSED:
            self._on_bad(source, state)

    def _is_calm(self, pending: list[StackEvidence], now: float) -> bool:
        """Return whether no file has been written for ``watch.quiet_s``; asked where that matters.

        A chunk of several planes may be written again when all its planes are there already.
        """
        if not any(evidence.may_change for evidence in pending):
            return True
        if now - self._moved_at < self._watch.settle_s:
            return False
        written_ns = max(_times_ns(self.folder, None), default=0)
        if written_ns != self._written_ns:
            self._written_ns, self._written_since = written_ns, now
        return now - self._written_since >= self._watch.quiet_s

    def _tell_problems(self, state: AcquisitionState, now: float) -> None:
        for problem in state.problems:
            if problem not in self._problems:
                self._problems.add(problem)
                self._warn(f"{self.folder.name}: {problem}")
                log.warning("damaged part", folder=str(self._source), reason=problem)
        if self._final and not state.stacks:
            reason = "; ".join(state.problems) or "holds no planes"
            self.trouble(now, State.REFUSED, f"{reason}; check the acquisition")
        else:
            self._untrouble()


def _in_order(stack_index: StackIndex) -> tuple[int, int, int]:
    """As runs are mostly recorded: for what is found all at once."""
    return stack_index.time, stack_index.position, stack_index.channel


def _times_ns(folder: Path, levels: int | None) -> Iterator[int]:
    """Yield when each file was written (ns since 1970), ``levels`` deep (``None``: all)."""
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_file(follow_symlinks=False):
                        yield entry.stat(follow_symlinks=False).st_mtime_ns
                    elif levels != 0 and entry.is_dir(follow_symlinks=False):
                        yield from _times_ns(
                            Path(entry.path), None if levels is None else levels - 1
                        )
                except OSError:
                    continue  # gone since it was listed
    except OSError:
        return
