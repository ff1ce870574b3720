"""One acquisition under a watched folder: each of its stacks recorded as it completes.

What is complete follows from the evidence of its format; what never will be, from the end of its
run (``run_clock.py``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import structlog

from live_restore.errors import StackIncompleteError, StackUnreadableError
from live_restore.files.naming import output_folder_name, stack_report_path
from live_restore.formats.acquisition_format import AcquisitionState, StackEvidence, Stage
from live_restore.formats.following import Following
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.outputs.provenance import restored_pixels
from live_restore.settings.model import Settings
from live_restore.sources.completeness import SINGLE_PLANE, decide_stack
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.run_clock import RunClock
from live_restore.sources.source import Callbacks
from live_restore.sources.unusable import Unusable
from live_restore.stack import Fingerprint, StackIndex, StackKey, checksum_of

log = structlog.get_logger()

# Files of one acquisition that are asked for their time when it is met.
_FILES_DATED = 10_000
# Names of what is passed by that are shown.
_NAMED = 5

_SETTLED = frozenset((State.WAITING, State.RUNNING, State.DONE, State.FAILED, State.REFUSED))


@dataclass
class _Known:
    """A stack as it was recorded."""

    fingerprint: Fingerprint
    state: State
    reason: str | None = None


@dataclass(frozen=True)
class _Before:
    """What there was when the acquisition was first looked at.

    ``rows`` are the journal's, ``written_ns`` the newest time stamp of its files (ns since 1970).
    """

    rows: Mapping[StackIndex, Entry]
    written_ns: int


class WatchedAcquisition:
    """Looks at one acquisition again and again.

    Parameters
    ----------
    following
        The acquisition.
    source
        Its folder, relative to the watched one.
    journal, pending
        What is known, and where decisions go.
    settings
        Sections ``watch`` and ``files`` are used.
    callbacks
        Whom to report to.
    found_at
        When its folder was recognised (monotonic s).

    Attributes
    ----------
    clock
        When to look again, and whether its run is over.
    """

    def __init__(
        self,
        following: Following,
        source: Path,
        journal: Journal,
        pending: PendingFindings,
        settings: Settings,
        callbacks: Callbacks,
        found_at: float,
    ) -> None:
        self._following = following
        self._source = source
        self._journal = journal
        self._pending = pending
        self._settings = settings
        self._callbacks = callbacks
        self.clock = RunClock(found_at, settings.watch)
        self._before: _Before | None = None
        self._stacks: dict[StackIndex, _Known] = {}
        self._unusable = Unusable(source, pending, callbacks)
        self._problems: set[str] = set()
        self._recorded: tuple[str, str] | None = None

    @property
    def folder(self) -> Path:
        """Its folder (absolute)."""
        return self._following.folder

    def undecided(self) -> int:
        """Return how many stacks only need a little more quiet to be decided about.

        None of an acquisition that keeps growing, or that cannot be used.
        """
        if self.clock.over or self._unusable.altogether or self.clock.keeps_growing:
            return 0
        if self._unusable.undecided:
            return 1
        return sum(known.state is State.ARRIVING for known in self._stacks.values())

    def reconsider(self, index: StackIndex) -> None:
        """A stack was not there as it was found: leave it as it is, unless planes are added."""
        if index in self._stacks:
            self._stacks[index].state = State.FAILED
        self.clock.wake()

    def leave(self) -> None:
        """Report that it is not there any more; what is done stays done."""
        for index, known in self._stacks.items():
            self._pending.add(self._key(index), Finding(known.fingerprint, None))
        self._unusable.accept()
        log.info("acquisition left", folder=str(self.folder))

    def trouble(self, now: float, state: State, reason: str) -> None:
        """Report that it cannot be used (REFUSED), or not just now (ARRIVING)."""
        self.clock.next_look = now + self._settings.watch.scan_interval_s
        self._unusable.refuse(state, reason)

    def look(self, now: float, *, hurry: bool) -> None:
        """Look once and record what is new.

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
        clock = self.clock
        if clock.too_young(now):
            return
        state = self._following.poll()
        if self._before is None:
            self._before = self._recall(state)
            clock.begin(now, state.pause_s)
            moved = self._take_in(state, self._before.written_ns)
        elif moved := self._take_in(state, time.time_ns()):
            clock.moved(now)
            self._callbacks.arrived()
        clock.see_end(now, ended=bool(state.ended), moved=moved)
        pending = _unsettled(state, self._stacks)
        calm = self._is_calm([state.stacks[each] for each in pending], now)
        clock.decide(now, calm=calm, hurry=hurry)
        over = bool(state.ended)
        if pending and not over and clock.paused_longer_than_ever(now):
            # A script's run does not say how many planes it will have: after a pause longer than
            # its pauses so far, a stack as large as the others is as good as complete.
            over = True
            state = self._following.poll(over=True)
            if self._take_in(state, time.time_ns()):
                clock.moved(now)
                return  # it has not been quiet: the next look decides anew
        for index in sorted(pending, key=_in_order):
            if index in state.stacks:  # a follower may have given one up since
                self._decide(index, state.stacks[index], over, calm)
        self._report_problems(state, now)
        self._record_itself(state)
        clock.rest(now)

    # What was there before --------------------------------------------------------------------

    def _recall(self, state: AcquisitionState) -> _Before:
        """Return what the journal knows, unless another run was recorded under the name."""
        rows = self._journal.stacks_in(self._source)
        times_ns = list(islice(times_written_ns(self.folder, 1), _FILES_DATED))
        finished = [row.finished_at for row in rows.values() if row.finished_at is not None]
        newer = finished and times_ns and min(times_ns) / 1e9 > max(finished)
        if newer and not _is_the_same_run(self._following, state, rows):
            rows = {}  # all of it is work again; a result of the very same pixels will do
        return _Before(rows, min(max(times_ns, default=0), time.time_ns()))

    def _take_in(self, state: AcquisitionState, now_ns: int) -> bool:
        """Take in the stacks that are new or have grown; return whether there are any."""
        plane_bytes = state.info.plane_bytes or 0  # none of its planes can be used, so far
        rows = {} if self._before is None else self._before.rows
        moved = False
        for index, evidence in state.stacks.items():
            size = len(evidence.present) * plane_bytes
            known = self._stacks.get(index)
            if known is not None and known.fingerprint.size == size:
                continue
            moved = True
            row = rows.get(index) if known is None else None
            if row is not None and row.fingerprint.size == size:
                self._stacks[index] = _Known(row.fingerprint, row.state, row.reason)
            else:
                self._stacks[index] = _Known(Fingerprint.in_range(size, now_ns), State.ARRIVING)
        return moved

    # Deciding ---------------------------------------------------------------------------------

    def _decide(self, index: StackIndex, evidence: StackEvidence, over: bool, calm: bool) -> None:
        known = self._stacks[index]
        state, reason = decide_stack(
            evidence,
            taken_as_over=over,
            final=self.clock.over,
            calm=calm,
            partial=self._settings.files.partial_stacks,
        )
        if state is State.ARRIVING and known.state is State.INCOMPLETE:
            return  # found so before; nothing has arrived since
        if (state, reason) == (known.state, known.reason):
            return
        key = self._key(index)
        known.state, known.reason = state, reason
        finding = Finding(known.fingerprint, state, reason, int(state is State.WAITING))
        self._pending.add(key, finding)
        if state is State.WAITING:
            log.info("complete", stack_key=str(key), stacks=1)
        elif reason == SINGLE_PLANE:
            what = f"channel {index.channel} has no z-stack; there is nothing to restore in 3-D"
            if what not in self._problems:  # all stacks of the channel are alike
                self._problems.add(what)
                self._callbacks.warn(f"{self.folder.name}: {what}")
                log.warning(state.value, folder=str(self._source), reason=what)
        elif state is not State.ARRIVING:
            log.warning(state.value, stack_key=str(key), reason=reason)
        if state is State.REFUSED:
            self._callbacks.on_bad(key, state)

    def _is_calm(self, pending: list[StackEvidence], now: float) -> bool:
        """Return whether no file has been written for ``watch.quiet_s``; asked where that matters.

        A chunk of several planes may be written again when all its planes are there already.
        """
        if not any(evidence.may_change for evidence in pending):
            return True
        if self.clock.just_moved(now):
            return False
        return self.clock.see_written(now, max(times_written_ns(self.folder), default=0))

    def _report_problems(self, state: AcquisitionState, now: float) -> None:
        for problem in state.problems:
            if problem not in self._problems:
                self._problems.add(problem)
                self._callbacks.warn(f"{self.folder.name}: {problem}")
                log.warning("damaged part", folder=str(self._source), reason=problem)
        # Nothing, or less than there is to be: only once the run is over does it stay so.
        self._unusable.undecided = not state.stacks or bool(state.unusable)
        if self.clock.over and not state.stacks:
            reason = "; ".join(state.all_that_is_wrong()) or "holds no planes"
            self.trouble(now, State.REFUSED, f"{reason}; check the acquisition")
        else:
            self._unusable.accept()
        self._unusable.refuse_parts(state.unusable if self.clock.over and state.stacks else {})

    def _record_itself(self, state: AcquisitionState) -> None:
        """Record that it is an acquisition, once it holds planes, and what lies in it beside them.

        It stays one: what else is put into its folder makes nothing of it a single file again.
        """
        if not state.stacks:
            return
        results = output_folder_name(self._settings.output.template)
        foreign = [name for name in state.foreign if name != results]
        recorded = state.info.format, foreign_note(foreign)
        if recorded == self._recorded:
            return
        self._pending.add_acquisition(self._source, *recorded)
        self._recorded = recorded
        if foreign:
            told = f"{self.folder.name}: {recorded[1]}"
            self._callbacks.warn(told)
            log.warning("passed by", folder=str(self._source), reason=recorded[1])

    def _key(self, index: StackIndex) -> StackKey:
        return StackKey(self._source, index)


def _is_the_same_run(
    following: Following, state: AcquisitionState, rows: Mapping[StackIndex, Entry]
) -> bool:
    """Return whether the first stack that is done was made of the pixels that are there now.

    All files being newer than all results is no proof: a run that was followed and is still going
    on, in one large file, looks so too.
    """
    done = sorted(index for index, row in rows.items() if row.state is State.DONE)
    for index in done[:1]:
        known = restored_pixels(stack_report_path(Path(rows[index].result), index.label))
        if known is None or index not in state.stacks:
            return False
        try:
            volume = following.read(index)
        except (StackIncompleteError, StackUnreadableError):
            return False
        return checksum_of(volume) == known
    return True


def _unsettled(state: AcquisitionState, stacks: Mapping[StackIndex, _Known]) -> list[StackIndex]:
    return [
        index
        for index, evidence in state.stacks.items()
        if (known := stacks.get(index))
        and (
            known.state not in _SETTLED
            or (evidence.stage is Stage.REFUSED and known.state is State.WAITING)
        )
    ]


def foreign_note(names: Sequence[str]) -> str:
    """Say what is passed by in an acquisition's folder, "" for nothing.

    >>> foreign_note(["MAX_run.tif"])
    'MAX_run.tif is not part of this acquisition and is passed by; move it out to have it restored'
    """
    if not names:
        return ""
    shown = ", ".join(names[:_NAMED]) + (", ..." if len(names) > _NAMED else "")
    verbs, what = ("is", "it") if len(names) == 1 else ("are", "them")
    return (
        f"{shown} {verbs} not part of this acquisition and {verbs} passed by; "
        f"move {what} out to have {what} restored"
    )


def _in_order(index: StackIndex) -> tuple[int, int, int]:
    """As runs are mostly recorded: for what is found all at once."""
    return index.time, index.position, index.channel


def times_written_ns(folder: Path, levels: int | None = None) -> Iterator[int]:
    """Yield when each file was written (ns since 1970), ``levels`` deep (``None``: all).

    What cannot be asked, or is gone by now, is passed over.
    """
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                try:
                    if entry.is_file(follow_symlinks=False):
                        # Not as listed: NTFS lists an open file as it was when it was opened.
                        yield Path(entry.path).lstat().st_mtime_ns
                    elif levels != 0 and entry.is_dir(follow_symlinks=False):
                        yield from times_written_ns(
                            Path(entry.path), None if levels is None else levels - 1
                        )
                except OSError:
                    continue  # gone since it was listed
    except OSError:
        return
