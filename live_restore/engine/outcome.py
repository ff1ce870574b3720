"""How the work on a lease ended: what is recorded, what is shown, and what is tried again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.job import Remainder, ResultPlan
from live_restore.engine.progress import Progress
from live_restore.engine.retry import Deferrals
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
    StackRenamedError,
    UnwritableError,
)
from live_restore.inference.network_runs import CancelledError
from live_restore.journal.entry import GROWING, Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.outputs.output import Published
from live_restore.outputs.provenance import made_of
from live_restore.stack import FOR_BRIGHTNESS, StackKey

log = structlog.get_logger()

_BRIGHTNESS_NOTE = (
    f"there are results that are {FOR_BRIGHTNESS} (live-restore status counts them): measure it in "
    "the raw stacks, or set output.keep_flux"
)
_LONGEST_WAIT_FOR_SPACE_S = 10.0
# How often a wait for the journal's disk is interrupted to see whether a stop is asked (s).
_STOP_LOOK_S = 0.1


class OutcomeRecorder:
    """Ends leases.

    Parameters
    ----------
    journal, progress
        Where outcomes are recorded, and shown.
    deferrals
        What the disk refused is added to them.
    reconsider
        Called with what changed between being found and being read.
    backoff
        Told when the journal refuses.
    disk_space, folder_of
        Told which disk is full, and which is not: that of the results of a key.
    max_attempts
        So often a stack is tried on which the runtime fails.
    stopping
        Whether to stop trying; a lease whose outcome is not recorded is taken up by the next
        start, which finds the result if there is one.
    reported
        What has been reported already about the whole run.
    """

    def __init__(
        self,
        journal: Journal,
        progress: Progress,
        deferrals: Deferrals,
        reconsider: Callable[[StackKey], None],
        backoff: Backoff,
        disk_space: DiskSpace,
        folder_of: Callable[[StackKey], Path],
        max_attempts: int,
        stopping: Callable[[], bool],
        reported: Iterable[str] = (),
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
        self._reported = set(reported)

    def already_restored(self, entry: Entry, plan: ResultPlan, remainder: Remainder) -> None:
        """The result was there before; nothing had to be done."""
        image = plan.result_path.image
        self._finish(entry, image, plan.doubt, remainder)
        if plan.renamed or entry.key.index is not None:
            self._recognise(entry, plan)
        self._deferrals.remove(entry.key)
        self._progress.already_restored(entry.key)
        log.info("already restored", stack_key=str(entry.key), result=str(image))

    def _recognise(self, entry: Entry, plan: ResultPlan) -> None:
        """Record what a result was made of, and count once what was renamed together with it."""
        known = made_of(plan.result_path.report)
        if known is None:
            return

        def write() -> None:
            former = None
            if plan.renamed:
                for each in self._journal.done_under_other_names(entry.key, known):
                    if each.is_gone_with_its_result(self._journal.root):
                        former = each.key
            self._journal.recognise(entry.key, known, former)

        self._record(write)

    def good(
        self,
        entry: Entry,
        published: Published,
        remainder: Remainder,
        note: str = "",
    ) -> None:
        """The result is safely on disk, but for ``remainder``; ``note`` is of its acquisition."""
        self._finish(entry, published.image, published.doubt, remainder)
        self._deferrals.remove(entry.key)
        self._disk_space.accepted(self._folder_of(entry.key))
        network_s = published.seconds.get("network", 0.0)
        self._progress.restored(
            entry.key,
            published.stacks,
            published.voxels,
            network_s,
            published.delay_s if self._arrived_now(entry) else None,
        )
        if published.less_light:
            self._progress.less_light(published.less_light)
            log.info("less light", stack_key=str(entry.key), cost=published.less_light)
        for warning in published.warnings:
            if FOR_BRIGHTNESS not in warning:  # every dim stack has it: told once, and counted
                self._progress.warn(f"{entry.key}: {warning}")
        if FOR_BRIGHTNESS in published.doubt:
            self._report_once(_BRIGHTNESS_NOTE, self._progress.note)
        for each in (note, *published.device_warnings):
            if each:
                self._report_once(each, self._progress.warn)
        for each in published.notes:
            self._report_once(each, self._progress.note)
        if published.doubt:
            for_brightness_only = published.doubt.startswith(FOR_BRIGHTNESS)
            log_doubt = log.info if for_brightness_only else log.warning
            log_doubt("doubtful", stack_key=str(entry.key), reason=published.doubt)
        log.info(
            "restored",
            stack_key=str(entry.key),
            result=str(published.image),
            stacks=published.stacks,
            delay_s=round(published.delay_s, 2),
            network_s=round(network_s, 2),
            warnings=len(published.warnings),
        )

    def bad(self, entry: Entry, error: BaseException) -> None:
        """There is no result, because of ``error``."""
        if isinstance(error, CancelledError):
            self.give_back(entry, "given back when the program stopped")
            log.info("given back", stack_key=str(entry.key))
            return
        if isinstance(error, StackRenamedError):
            self._leave(entry, error)
            return
        reason = (
            error.reason
            if isinstance(error, LiveRestoreError)
            else f"unexpected {type(error).__name__}: {error}; please report it with the log file"
        )
        if isinstance(error, (DiskFullError, UnwritableError)) and self._deferrals.retry:
            # Reported once for all that wait for that disk. Put off so that a smaller one, which
            # may fit, is tried before it.
            self._disk_space.refused(self._folder_of(entry.key), error)
            self._deferrals.add(entry.key, _LONGEST_WAIT_FOR_SPACE_S)
            self.give_back(entry, reason)
            return
        if isinstance(error, OutputError):
            self._disk_space.doubt(self._folder_of(entry.key))
        if isinstance(error, (OutputError, StackBusyError)):
            self._put_off(entry, reason)
        elif isinstance(error, RuntimeFailureError) and entry.attempts < self._max_attempts:
            self._put_off(entry, f"attempt {entry.attempts}: {reason}", counts=True)
        else:
            self._deferrals.remove(entry.key)
            self._end_for_good(entry, error, reason)
        self._progress.warn(f"{entry.key}: {reason}")
        trace = None if isinstance(error, LiveRestoreError) else error
        log.error("not restored", stack_key=str(entry.key), reason=reason, exc_info=trace)

    def give_back(self, entry: Entry, reason: str, *, counts: bool = False) -> None:
        """It is tried again, in its old turn; ``counts``: as a further attempt."""
        if entry.growing:  # which the next lease must know, too
            reason = f"{GROWING}; {reason}"
        self._record(lambda: self._journal.give_back(entry, reason, counts=counts))

    def _leave(self, entry: Entry, error: StackRenamedError) -> None:
        """Forget what has another name by now, under which it is found and counted."""

        def write() -> None:
            with self._journal.batch():
                self._journal.give_back(entry)
                self._journal.forget(entry.key)

        self._record(write)
        self._deferrals.remove(entry.key)
        self._progress.already_restored(entry.key)
        self._reconsider(entry.key)
        log.info("renamed", stack_key=str(entry.key), reason=error.reason)

    def _finish(self, entry: Entry, image: Path, doubt: str, remainder: Remainder) -> None:
        state, reason = State.DONE, doubt
        if remainder.growing:
            state, reason = State.ARRIVING, f"{GROWING}; its first stacks are restored"

        def write() -> None:
            with self._journal.batch():
                self._journal.finish(entry, state, reason=reason, result=str(image))
                if entry.key.index is None:
                    self._journal.record_left(entry, remainder.left)

        self._record(write)
        for index, (left, why) in remainder.left.items():
            key = StackKey(entry.key.acquisition, index)
            if left is State.FAILED:
                self._progress.failed(key)
            log.warning(left.value, stack_key=str(key), reason=why)

    def _report_once(self, note: str, show: Callable[[str], None]) -> None:
        """Report what most likely holds for all results, and must not drown what does not."""
        if note not in self._reported:
            self._reported.add(note)
            show(note)
            log.info(note)

    def _arrived_now(self, entry: Entry) -> bool:
        """Return whether a file was last written while this program ran.

        For what was there before, or comes from a clock that is ahead, a delay means nothing.
        """
        written_at = entry.fingerprint.mtime_ns / 1e9
        return self._progress.started_at <= written_at <= time.time()

    def _record(self, write: Callable[[], None]) -> None:
        """Record an outcome; try until it is recorded, or a stop is asked for."""
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
        # Put off before it is given back, or the reader could lease it in between.
        self._deferrals.add(entry.key)
        self.give_back(entry, reason, counts=counts)
        if not self._deferrals.retry:
            self._progress.failed(entry.key)

    def _end_for_good(self, entry: Entry, error: BaseException, reason: str) -> None:
        if isinstance(error, StackRefusedError):
            self._record(lambda: self._journal.finish(entry, State.REFUSED, reason=reason))
            self._progress.refused(entry.key)
            return
        self._progress.failed(entry.key)
        if isinstance(error, (StackChangedError, StackIncompleteError)):
            self._record(lambda: self._journal.lose(entry, reason))
            self._reconsider(entry.key)
        else:
            self._record(lambda: self._journal.finish(entry, State.FAILED, reason=reason))
