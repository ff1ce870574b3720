"""The data sets under a watched folder: followed stack by stack, each stack told to the journal.

A folder that some format claims is one data set and is not looked into for single files. What is
complete is said by the evidence of its format; what will never be complete, by the end of its run::

    the format's own end marker, held for two seconds        else
    nothing has arrived for watch.stall_s                     (files have the same patience)
    nothing has arrived for watch.quiet_s                     where nobody waits longer (--once)
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import structlog

from live_restore.errors import StackBusyError, StackChangedError, StackUnreadableError
from live_restore.following import Following
from live_restore.formats.dataset import DatasetFormat, DatasetState, Place, StackEvidence
from live_restore.formats.table import claimed_by, dataset_format_for
from live_restore.journal import Entry, Journal, State
from live_restore.outputs.naming import dataset_of_results
from live_restore.outputs.ome_zarr import is_own_ome_zarr
from live_restore.settings import Settings
from live_restore.sources.notes import Note, Notes
from live_restore.sources.settling import quiet_needed_s
from live_restore.sources.stack_verdicts import judge
from live_restore.stack import Fingerprint, StackKey

log = structlog.get_logger()

# Between two files of one run an end marker may be there for a moment.
_END_HELD_S = 2.0
# A data set in which something moves is looked at this often; one that rests, after a tenth of its
# rest, so that what has slept for long is found a little later and costs next to nothing.
_BUSY_POLL_S = 0.1
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


@dataclass
class _Followed:
    """A data set, and what is known about its stacks."""

    following: Following
    source: Path
    found_at: float
    stacks: dict[Place, _Known] = field(default_factory=dict)
    rows: Mapping[Place, Entry] = field(default_factory=dict)
    polled: bool = False
    next_poll: float = -math.inf
    moved_at: float = -math.inf
    longest_gap_s: float = 0.0
    moves: int = 0
    ended_since: float | None = None
    looked_at: float = -math.inf
    look_s: float = 0.0
    on_disk_ns: int = 0
    written_ns: int = 0
    written_since: float = math.inf
    final: bool = False
    trouble: str = ""
    problems: set[str] = field(default_factory=set)

    def source_of(self, place: Place) -> Path:
        """Return the name of a stack in the journal."""
        return self.source / place.label

    def quiet_s(self, now: float) -> float:
        """Return for how long nothing has arrived."""
        return now - self.moved_at

    def wake(self) -> None:
        """Look soon, but never so often that looking is all that is done."""
        earliest = self.looked_at + max(_BUSY_POLL_S, _LOOKS_REST * self.look_s)
        self.next_poll = min(self.next_poll, earliest)


class Datasets:
    """Follows the data sets that a walk through the watched folder comes upon.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats
        Formats of data sets to look for.
    journal, notes
        What is known, and where verdicts go.
    settings
        Sections ``watch`` and ``files`` are used.
    on_bad
        Called with the source and FAILED or REFUSED.
    warn
        Called with what a person should know at once.
    clock
        The time (monotonic s).
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[DatasetFormat],
        journal: Journal,
        notes: Notes,
        settings: Settings,
        on_bad: Callable[[Path, State], None],
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._formats = formats
        self._journal = journal
        self._notes = notes
        self._watch = settings.watch
        self._partial = settings.files.partial_stacks
        self._on_bad = on_bad
        self._warn = warn
        self._clock = clock
        self._followed: dict[Path, _Followed] = {}

    # Finding --------------------------------------------------------------------------------------

    def claims(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether a folder of these entries is a data set, or holds results of one.

        A data set is followed from now on, and stays one whatever is put into it later.
        """
        if folder in self._followed:
            return True
        raw = dataset_of_results(folder)
        if folder != self._root and raw is not None and self._is_dataset(raw):
            return True
        found = claimed_by(folder, names, self._formats)
        if found is None:
            return False
        if is_own_ome_zarr(folder):
            return True
        for inner in [f for f in self._followed if folder in f.parents]:
            self._leave(inner)  # one position of it had been taken for a run of its own
        source = folder.relative_to(self._root)
        self._followed[folder] = _Followed(Following(folder, found), source, self._clock())
        log.info("data set found", folder=str(folder), format=found.name)
        return True

    def _is_dataset(self, folder: Path) -> bool:
        return folder in self._followed or (
            folder.is_dir() and dataset_format_for(folder, self._formats) is not None
        )

    def holds(self, path: Path) -> bool:
        """Return whether a path is part of a data set, which is looked at soon, or a result."""
        for folder in (path, *path.parents):
            followed = self._followed.get(folder)
            if followed is not None:
                followed.wake()
                return True
            raw = dataset_of_results(folder)
            if raw is not None and raw in self._followed:
                return True
        return False

    def _leave(self, folder: Path) -> None:
        """Stop following a data set that vanished; what waits of it is not there any more."""
        followed = self._followed.pop(folder)
        for place, known in followed.stacks.items():
            if known.state in (State.ARRIVING, State.WAITING):
                self._notes.add(followed.source_of(place), Note(known.fingerprint, None))
        if followed.trouble:
            self._notes.add(followed.source, Note(_NO_FINGERPRINT, None))
        log.info("data set left", folder=str(folder))

    # Looking --------------------------------------------------------------------------------------

    def poll(self, *, hurry: bool, stopping: Callable[[], bool]) -> float:
        """Look at every data set that is due; return when to do so again (s from now).

        ``hurry``: take a run for over after a short quiet.
        """
        for folder, followed in list(self._followed.items()):
            if stopping():
                break
            if self._clock() < followed.next_poll:
                continue
            began = self._clock()
            try:
                self._look(followed, hurry, began)
            except StackChangedError:
                self._leave(folder)
                continue
            except StackUnreadableError as error:
                self._in_trouble(followed, State.REFUSED, error.reason)
            except StackBusyError as error:
                self._in_trouble(followed, State.ARRIVING, error.reason)
            followed.looked_at, followed.look_s = began, self._clock() - began
            followed.next_poll = max(followed.next_poll, began + _LOOKS_REST * followed.look_s)
        now = self._clock()
        due = min((f.next_poll for f in self._followed.values()), default=math.inf)
        return max(due - now, _BUSY_POLL_S)

    def undecided(self) -> int:
        """Return how many stacks only need a little more quiet to be decided about.

        Stacks of a data set that keeps growing are not among them.
        """
        return sum(
            1 if not f.polled else sum(k.state is State.ARRIVING for k in f.stacks.values())
            for f in self._followed.values()
            if not f.final and not f.trouble and f.moves < 2
        )

    def reconsider(self, source: Path) -> bool:
        """A stack was not there as it was found; return whether it is one of ours.

        It stays as the journal has it unless planes are added to it.
        """
        place = Place.from_label(source.name)
        followed = self._followed.get(self._root / source.parent)
        if place is None or followed is None:
            return False
        if place in followed.stacks:
            followed.stacks[place].state = State.FAILED
        followed.wake()
        return True

    def _in_trouble(self, followed: _Followed, state: State, reason: str) -> None:
        followed.next_poll = self._clock() + self._watch.scan_interval_s
        if followed.trouble != reason:
            followed.trouble = reason
            self._notes.add(followed.source, Note(_NO_FINGERPRINT, state, reason))
            # Counts as failed until it can be read after all: --once must not call it good.
            bad = State.REFUSED if state is State.REFUSED else State.FAILED
            self._on_bad(followed.source, bad)
            log.warning("data set", stack_key=str(followed.source), reason=reason)

    def _look(self, followed: _Followed, hurry: bool, now: float) -> None:
        if now - followed.found_at < self._watch.settle_s:
            # A position's folder may look like a run of its own until its run's is recognised.
            followed.next_poll = followed.found_at + self._watch.settle_s
            return
        first = not followed.polled
        if first:
            self._begin(followed)
        state = followed.following.poll()
        moved = self._take_in(followed, state, first)
        if moved:
            self._note_move(followed, now, first)
        if moved or not state.ended:
            followed.ended_since = None
        if state.ended and followed.ended_since is None:
            followed.ended_since = now
        quiet_s = followed.quiet_s(now)
        end_held = followed.ended_since is not None and now - followed.ended_since >= _END_HELD_S
        calm = self._is_calm(followed, state, now)
        patience_s = self._watch.quiet_s if hurry else self._watch.stall_s
        followed.final = calm and (end_held or quiet_s >= patience_s)
        over = bool(state.ended)
        if not over and quiet_s >= quiet_needed_s(followed.longest_gap_s, self._watch):
            # A script's run does not say how many planes it will have: after a pause longer than
            # its pauses so far, a stack as large as the others is as good as complete.
            over = True
            state = followed.following.poll(over=True)
            if self._take_in(followed, state, first=False):
                self._note_move(followed, now, first=False)
                return  # it has not been quiet: the next look judges anew
        for key in sorted(self._unsettled(followed, state), key=_in_order):
            self._judge(followed, _place(key), state.stacks[key], over, calm)
        self._tell_problems(followed, state)
        followed.next_poll = now + self._rest_s(followed, quiet_s)

    def _rest_s(self, followed: _Followed, quiet_s: float) -> float:
        scan_s = self._watch.scan_interval_s
        if followed.final:
            return _SCANS_WHEN_OVER * scan_s
        return min(max(_BUSY_POLL_S, _REST_SHARE * quiet_s), scan_s)

    def _begin(self, followed: _Followed) -> None:
        """Remember what the journal knows, unless the data set was made anew under its name."""
        rows = self._journal.stacks_in(followed.source)
        times_ns = list(islice(_times_ns(followed.following.folder, 1), _FILES_DATED))
        finished = [row.finished_at for row in rows.values() if row.finished_at is not None]
        if finished and times_ns and min(times_ns) / 1e9 > max(finished):
            # Looked at again: who finds a result of the very same pixels leaves it as it is.
            rows = {}
        followed.rows = rows
        followed.on_disk_ns = min(max(times_ns, default=0), time.time_ns())
        followed.moved_at = self._clock()
        followed.polled = True

    def _note_move(self, followed: _Followed, now: float, first: bool) -> None:
        if not first:
            gap_s = followed.quiet_s(now)
            if gap_s <= self._watch.stall_s:
                followed.longest_gap_s = max(followed.longest_gap_s, gap_s)
            followed.moves += 1
        followed.moved_at = now
        followed.next_poll = now + _BUSY_POLL_S

    def _take_in(self, followed: _Followed, state: DatasetState, first: bool) -> bool:
        """Take down the stacks that are new or have grown; return whether there are any."""
        info = state.info
        if info.dtype is None or info.shape_yx is None:
            return False
        plane_bytes = info.shape_yx[0] * info.shape_yx[1] * info.dtype.itemsize
        now_ns = followed.on_disk_ns if first else time.time_ns()
        moved = False
        for key, evidence in state.stacks.items():
            place = _place(key)
            size = len(evidence.present) * plane_bytes
            known = followed.stacks.get(place)
            if known is not None and known.fingerprint.size == size:
                continue
            moved = True
            row = followed.rows.get(place) if known is None else None
            if row is not None and row.fingerprint.size == size:
                followed.stacks[place] = _Known(row.fingerprint, row.state, row.reason)
            else:
                followed.stacks[place] = _Known(Fingerprint(size, now_ns), State.ARRIVING)
        return moved

    # Deciding -------------------------------------------------------------------------------------

    def _unsettled(self, followed: _Followed, state: DatasetState) -> list[StackKey]:
        return [
            key
            for key in state.stacks
            if (known := followed.stacks.get(_place(key))) and known.state not in _SETTLED
        ]

    def _judge(
        self, followed: _Followed, place: Place, evidence: StackEvidence, over: bool, calm: bool
    ) -> None:
        known = followed.stacks[place]
        state, reason = judge(
            evidence,
            taken_as_over=over,
            final=followed.final,
            calm=calm,
            partial=self._partial,
        )
        if state is State.ARRIVING and known.state is State.INCOMPLETE:
            return  # found so before; nothing has arrived since
        if (state, reason) == (known.state, known.reason):
            return
        source = followed.source_of(place)
        known.state, known.reason = state, reason
        self._notes.add(source, Note(known.fingerprint, state, reason, int(state is State.WAITING)))
        if state is State.WAITING:
            log.info("complete", stack_key=str(source), stacks=1)
        elif state is not State.ARRIVING:
            log.warning(state.value, stack_key=str(source), reason=reason)
        if state is State.REFUSED:
            self._on_bad(source, state)

    def _is_calm(self, followed: _Followed, state: DatasetState, now: float) -> bool:
        """Return whether no file has been written for ``watch.quiet_s``; asked where that matters.

        A chunk of several planes may be written again when all its planes are there already.
        """
        if not any(evidence.may_change for evidence in state.stacks.values()):
            return True
        if followed.quiet_s(now) < self._watch.settle_s:
            return False
        written_ns = max(_times_ns(followed.following.folder, None), default=0)
        if written_ns != followed.written_ns:
            followed.written_ns, followed.written_since = written_ns, now
        return now - followed.written_since >= self._watch.quiet_s

    def _tell_problems(self, followed: _Followed, state: DatasetState) -> None:
        for problem in state.problems:
            if problem not in followed.problems:
                followed.problems.add(problem)
                self._warn(f"{followed.following.folder.name}: {problem}")
                log.warning("damaged part", folder=str(followed.source), reason=problem)
        if followed.final and not state.stacks:
            reason = "; ".join(state.problems) or "holds no planes"
            self._in_trouble(followed, State.REFUSED, f"{reason}; check the acquisition")
        elif followed.trouble:
            followed.trouble = ""
            self._notes.add(followed.source, Note(_NO_FINGERPRINT, None))


def _place(key: StackKey) -> Place:
    return Place(key.position, key.time, key.channel)


def _in_order(key: StackKey) -> tuple[int, int, int]:
    """As runs are mostly recorded: for what is found all at once."""
    return key.time, key.position, key.channel


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
