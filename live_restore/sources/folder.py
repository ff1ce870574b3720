"""The folder source: a scan is the truth, file events only shorten the wait.

Watchers lose events (8 to 25 % at bulk-copy rates), network shares send none, and nobody reports
what was there before: so every decision comes from looking at the folder, and an event does no
more than name where to look first.
"""

from __future__ import annotations

import stat
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.journal.journal import Journal
from live_restore.settings.model import Settings
from live_restore.sources.acquisitions import Acquisitions
from live_restore.sources.files import WatchedFiles
from live_restore.sources.inbox import Inbox
from live_restore.sources.look_budget import LookBudget
from live_restore.sources.passed_by import NotLookedAt
from live_restore.sources.pending import PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.sources.tree import Tree
from live_restore.stack import StackKey

log = structlog.get_logger()

# While something arrives it is looked at this often; a look at an unchanged file is one stat().
_ARRIVING_POLL_S = 0.1


class FolderSource:
    """Finds files and acquisitions under ``root``, and records which are complete.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats, acquisition_formats
        Formats of files, and of acquisition folders, to look for.
    journal
        Where decisions go; what it already knows is not looked at again.
    settings
        Sections ``watch``, ``files`` and ``output`` are used.
    callbacks
        Whom to report to.
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
        callbacks: Callbacks | None = None,
        clock: Callable[[], float] = time.monotonic,
        thread_clock: Callable[[], float] = time.thread_time,
    ) -> None:
        callbacks = callbacks or Callbacks()
        self._root = root
        self._watch = settings.watch
        self._callbacks = callbacks
        self._clock = clock
        self._thread_clock = thread_clock
        self._inbox = Inbox()
        self._pending = PendingFindings(journal, callbacks, clock)
        self._acquisitions = Acquisitions(
            root, acquisition_formats, journal, self._pending, settings, callbacks, clock
        )
        self._files = WatchedFiles(
            root,
            formats,
            journal.entries(),
            self._pending,
            settings,
            callbacks,
            self._acquisitions.adopt_above,
            clock,
        )
        self._tree = Tree(root, formats, settings, callbacks, self._acquisitions.adopt, clock)
        self._budget = LookBudget(settings.watch)

    def hint(self, path: Path) -> None:
        """Something may have happened to ``path``."""
        self._inbox.hint(path)

    def reconsider(self, key: StackKey) -> None:
        """Look at something anew although it was settled: it had changed when it was to be read."""
        self._inbox.reconsider(key)

    def wait(self, timeout_s: float) -> None:
        """Sleep until a hint arrives."""
        self._inbox.wait(timeout_s)

    def undecided(self) -> int:
        """Return how many files and stacks have been quiet for too short a time to decide about."""
        return self._files.undecided() + self._acquisitions.undecided()

    def passed_by(self) -> tuple[NotLookedAt, ...]:
        """Return what lies in the folder and is not looked at, as the last scans found it."""
        return self._tree.passed_by.summary()

    def poll(self, *, hurry: bool = False) -> float:
        """Look once and return when to look again (s from now).

        Parameters
        ----------
        hurry
            Nobody will look much longer: an acquisition in which nothing has arrived for
            ``watch.quiet_s`` counts as over.

        Raises
        ------
        JournalError
            What was found could not be recorded just now; the next call tries again.
        """
        self._inbox.begin()
        self._files.hurry = hurry
        self._pending.record()  # what the last call could not, before more is gathered
        self._scan_or_glance()
        hints, anew = self._inbox.take()
        for key in anew:
            if not self._acquisitions.reconsider(key):
                self._look(self._root / key.acquisition, anew=True)
        for path in hints:
            if self._callbacks.stopping():
                break
            self._look(path)
        self._look_at_undecided()
        next_stack_s = self._acquisitions.poll(hurry=hurry)
        self._pending.record()
        now = self._clock()
        until_scan = min(self._budget.next_in_s(now), next_stack_s)
        if not self._files.open_questions():
            return until_scan
        return min(until_scan, max(_ARRIVING_POLL_S, self._budget.next_look - now))

    def _look_at_undecided(self) -> None:
        """Look at what is undecided and due, as far as the budget goes."""
        if self._clock() < self._budget.next_look:
            return
        worked, into = self._thread_clock(), self._files.looked_into_s
        for key in self._files.due():
            if self._callbacks.stopping():
                break
            self._look(self._root / key.acquisition)
        into = self._files.looked_into_s - into
        self._budget.looked(self._clock(), self._thread_clock() - worked - into)

    def _scan_or_glance(self) -> None:
        """Walk the whole tree where that is due; else look only where something seems new.

        A walk through very many files is dear, and so rare; that a name has been added to a folder
        shows in the folder's own time stamp. A glance asks for those alone.
        """
        began, worked = self._clock(), self._thread_clock()
        if began >= self._budget.next_scan:
            self._scan()
            took, worked = self._clock() - began, self._thread_clock() - worked
            self._budget.scanned(began, took, worked, idle=not self._files.open_questions())
        elif began >= self._budget.next_glance:
            for seen in self._tree.new_files():
                if self._callbacks.stopping():
                    break
                self._files.observe(seen)
            self._budget.glanced(began, self._clock() - began, self._thread_clock() - worked)
        interval_s = self._budget.interval_to_report(began)
        if interval_s is not None:
            told = (
                f"looking through {self._root.name or self._root} takes long: without file events, "
                f"new files are found after {interval_s:.0f} s, not "
                f"{self._watch.scan_interval_s:g} s; move what is finished elsewhere"
            )
            self._callbacks.warn(told)
            log.warning(told)

    def _scan(self) -> None:
        """Walk the whole tree, oldest files first."""
        self._tree.begin()
        found = sorted(self._tree.files(self._root), key=lambda f: (f.fingerprint.mtime_ns, f.path))
        for seen in found:
            if self._callbacks.stopping():
                return
            self._files.observe(seen)
        if self._callbacks.stopping():  # what was not seen may well be there
            return
        self._files.keep_only({seen.path for seen in found}, self._acquisitions.wake_if_inside)
        self._acquisitions.ask_again()
        self._acquisitions.forget_vanished()
        self._tree.forget_vanished()

    def _look(self, path: Path, *, anew: bool = False) -> None:
        """Look at one path that an event or an open question named.

        ``anew``: whatever the journal says about it.
        """
        try:
            parts = path.relative_to(self._root).parts
        except ValueError:
            return
        if self._acquisitions.wake_if_inside(path):
            self._files.gone(path)
            return
        try:
            status = path.lstat()
        except OSError:
            # On a share that went away: what comes back is not what was settled.
            self._files.gone(path, forget=anew)
            return
        folders = [self._root.joinpath(*parts[:i]) for i in range(1, len(parts))]
        if not all(self._tree.is_input_folder(f) and not f.is_symlink() for f in folders):
            return
        if stat.S_ISDIR(status.st_mode):
            if self._watch.recursive and self._tree.is_input_folder(path):
                for seen in self._tree.files(path):
                    self._files.observe(seen)
        elif stat.S_ISREG(status.st_mode) and self._tree.is_input_name(path):
            self._files.observe(self._tree.seen(path, status), anew=anew)
