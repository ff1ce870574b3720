"""How a claimed file ends: verdict into the journal, word to the display, and what waits anew."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.file_job import ResultPlan
from live_restore.engine.progress import Progress
from live_restore.errors import (
    DiskFullError,
    JournalError,
    LiveRestoreError,
    OutputError,
    RuntimeFailureError,
    StackBusyError,
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
)
from live_restore.inference.restorer import CancelledError
from live_restore.journal.journal import Entry, Journal, State
from live_restore.outputs.output import Published
from live_restore.stack import FileStacks

log = structlog.get_logger()

_LONGEST_RETRY_S = 300.0
_LONGEST_WAIT_FOR_ROOM_S = 10.0
# How often a wait for the journal's disk is interrupted to see whether a stop is asked (s).
_STOP_LOOK_S = 0.1


class Deferrals:
    """Files that the disk refused, and when to try each of them again.

    Parameters
    ----------
    first_s
        The first wait (s); it doubles each time, up to five minutes.
    retry
        Whether to try again at all.
    """

    def __init__(self, first_s: float, *, retry: bool) -> None:
        self.retry = retry
        self._first_s = first_s
        self._until: dict[Path, float] = {}
        self._wait_s: dict[Path, float] = {}

    def __contains__(self, source: Path) -> bool:
        return source in self._until

    def add(self, source: Path, longest_s: float = _LONGEST_RETRY_S) -> None:
        """Put a file off, longer than the last time, at most ``longest_s``."""
        wait_s = min(longest_s, 2 * self._wait_s.get(source, self._first_s / 2))
        self._wait_s[source] = wait_s
        self._until[source] = time.monotonic() + wait_s if self.retry else float("inf")

    def remove(self, source: Path) -> None:
        """Forget a file that has come to an end."""
        self._until.pop(source, None)
        self._wait_s.pop(source, None)

    def all(self) -> frozenset[Path]:
        """Return every file that was put off."""
        return frozenset(list(self._until))

    def not_yet(self) -> frozenset[Path]:
        """Return the files whose time has not come."""
        now = time.monotonic()
        return frozenset(s for s, until in list(self._until.items()) if until > now)

    def next_in_s(self) -> float:
        """Return when to look again (s from now), at most a second."""
        now = time.monotonic()
        return min([*(u - now for u in list(self._until.values()) if u > now), 1.0])


@dataclass(frozen=True)
class NotNow:
    """The sources that are not to be claimed just now: put off, or their disk is full."""

    put_off: frozenset[Path]
    without_room: Callable[[Path], bool]

    def __contains__(self, source: object) -> bool:
        return source in self.put_off or (isinstance(source, Path) and self.without_room(source))


class OutcomeRecorder:
    """Ends claims.

    Parameters
    ----------
    journal, progress
        Where verdicts go.
    deferrals
        What the disk refused is added to them.
    reconsider
        Called with a source that changed between being found and being read.
    patience
        Told when the journal refuses.
    room, folder_of
        Told which disk is full, and which is not: that of a source's results.
    max_attempts
        So often a stack is tried on which the runtime fails.
    stopping
        Whether to leave off trying; a claim whose verdict is not recorded is taken up by the next
        start, which finds the result if there is one.
    said
        What has been told already about the whole run.
    """

    def __init__(
        self,
        journal: Journal,
        progress: Progress,
        deferrals: Deferrals,
        reconsider: Callable[[Path], None],
        backoff: Backoff,
        disk_space: DiskSpace,
        folder_of: Callable[[Path], Path],
        max_attempts: int,
        stopping: Callable[[], bool],
        said: Iterable[str] = (),
    ) -> None:
        self._backoff = backoff
        self._disk_space = disk_space
        self._folder_of = folder_of
        self._max_attempts = max_attempts
        self._stopping = stopping
        self._journal = journal
        self._progress = progress
        self._deferrals = deferrals
        self._reconsider = reconsider
        self._said = set(said)

    def already_restored(self, entry: Entry, plan: ResultPlan) -> None:
        """The result was there before; nothing had to be done."""
        image = plan.result_path.image
        self._finish(entry, image, plan.doubt)
        self._deferrals.remove(entry.source)
        self._progress.already_restored(entry.source)
        log.info("already restored", stack_key=str(entry.source), result=str(image))

    def good(self, entry: Entry, file_stacks: FileStacks, published: Published) -> None:
        """The result is safely on disk."""
        self._finish(entry, published.image, published.doubt)
        self._deferrals.remove(entry.source)
        self._disk_space.accepted(self._folder_of(entry.source))
        network_s = published.seconds.get("network", 0.0)
        self._progress.restored(
            entry.source,
            file_stacks.stack_count,
            file_stacks.stack_count * file_stacks.stack_voxels,
            network_s,
            published.delay_s if self._arrived_now(entry) else None,
        )
        for warning in published.warnings:
            self._progress.warn(f"{entry.source}: {warning}")
        for note in (*published.device_warnings, *published.notes):
            self._say_once(note)
        if published.doubt:
            log.warning("doubtful", stack_key=str(entry.source), reason=published.doubt)
        log.info(
            "restored",
            stack_key=str(entry.source),
            result=str(published.image),
            stacks=file_stacks.stack_count,
            delay_s=round(published.delay_s, 2),
            network_s=round(network_s, 2),
            warnings=len(published.warnings),
        )

    def bad(self, entry: Entry, error: BaseException) -> None:
        """There is no result, because of ``error``."""
        if isinstance(error, CancelledError):
            self._record(
                lambda: self._journal.give_back(entry, "given back when the program stopped")
            )
            log.info("given back", stack_key=str(entry.source))
            return
        reason = (
            error.reason
            if isinstance(error, LiveRestoreError)
            else f"unexpected {type(error).__name__}: {error}; please report it with the log file"
        )
        if isinstance(error, DiskFullError) and self._deferrals.retry:
            # Said by the room, once for all that wait for it. Put off so that a smaller one, which
            # may fit, is tried before it.
            self._disk_space.refused(self._folder_of(entry.source), error)
            self._deferrals.add(entry.source, _LONGEST_WAIT_FOR_ROOM_S)
            self._record(lambda: self._journal.give_back(entry, reason))
            return
        if isinstance(error, (OutputError, StackBusyError)):
            self._put_off(entry, reason)
        elif isinstance(error, RuntimeFailureError) and entry.attempts < self._max_attempts:
            self._put_off(entry, f"attempt {entry.attempts}: {reason}", counts=True)
        else:
            self._deferrals.remove(entry.source)
            self._end_for_good(entry, error, reason)
        self._progress.warn(f"{entry.source}: {reason}")
        trace = None if isinstance(error, LiveRestoreError) else error
        log.error("not restored", stack_key=str(entry.source), reason=reason, exc_info=trace)

    def _finish(self, entry: Entry, image: Path, doubt: str) -> None:
        self._record(
            lambda: self._journal.finish(entry, State.DONE, reason=doubt, result=str(image))
        )

    def _say_once(self, note: str) -> None:
        """Tell what holds for a whole run, most likely, and must not drown what does not."""
        if note not in self._said:
            self._said.add(note)
            self._progress.warn(note)
            log.info(note)

    def _arrived_now(self, entry: Entry) -> bool:
        """Return whether a file was last written while this program ran.

        For what was there before, or comes from a clock that is ahead, a delay means nothing.
        """
        written_at = entry.fingerprint.mtime_ns / 1e9
        return self._progress.started_at <= written_at <= time.time()

    def _record(self, write: Callable[[], None]) -> None:
        """Record a verdict; try until it is recorded, or a stop is asked."""
        while True:
            try:
                write()
            except JournalError as error:
                if not self._deferrals.retry:
                    raise
                again_at = time.monotonic() + self._backoff.refused(error)
                while time.monotonic() < again_at and not self._stopping():
                    time.sleep(_STOP_LOOK_S)
                if self._stopping():
                    log.error("not recorded; the next start finds out", reason=str(error))
                    return
            else:
                self._backoff.accepted()
                return

    def _put_off(self, entry: Entry, reason: str, *, counts: bool = False) -> None:
        # Put off before it is given back, or the reader could claim it in between.
        self._deferrals.add(entry.source)
        self._record(lambda: self._journal.give_back(entry, reason, counts=counts))
        if not self._deferrals.retry:
            self._progress.failed(entry.source)

    def _end_for_good(self, entry: Entry, error: BaseException, reason: str) -> None:
        if isinstance(error, StackRefusedError):
            self._record(lambda: self._journal.finish(entry, State.REFUSED, reason=reason))
            self._progress.refused(entry.source)
            return
        self._progress.failed(entry.source)
        if isinstance(error, (StackChangedError, StackIncompleteError)):
            self._record(lambda: self._journal.lose(entry, reason))
            self._reconsider(entry.source)
        else:
            self._record(lambda: self._journal.finish(entry, State.FAILED, reason=reason))
