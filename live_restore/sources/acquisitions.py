"""The acquisitions under a watched folder: which folders are one, and when each is looked at.

A folder that some format recognises is one acquisition, and is not looked into for single files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import structlog

from live_restore.errors import (
    JournalError,
    StackBusyError,
    StackChangedError,
    StackError,
    StackUnreadableError,
)
from live_restore.files.naming import acquisition_of_results
from live_restore.files.raw_data import names_in
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.following import Following
from live_restore.formats.table import acquisition_format_for, recognised_by
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.outputs.table import is_own_result
from live_restore.settings.model import Settings
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.run_clock import BUSY_POLL_S
from live_restore.sources.source import Callbacks
from live_restore.sources.watched_acquisition import WatchedAcquisition
from live_restore.stack import Fingerprint, StackKey

log = structlog.get_logger()

# A folder of very many files is not listed anew for each of them.
_REST_PER_LISTING = 20


class Acquisitions:
    """Follows the acquisitions that a walk through the watched folder comes upon.

    Parameters
    ----------
    root
        The watched folder (absolute).
    formats
        Formats of acquisition folders to look for.
    journal, pending
        What is known, and where decisions go.
    settings
        Sections ``watch`` and ``files`` are used.
    callbacks
        Whom to report to.
    clock
        The time (monotonic s).
    """

    def __init__(
        self,
        root: Path,
        formats: Sequence[AcquisitionFormat],
        journal: Journal,
        pending: PendingFindings,
        settings: Settings,
        callbacks: Callbacks,
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._formats = formats
        self._journal = journal
        self._pending = pending
        self._settings = settings
        self._callbacks = callbacks
        self._clock = clock
        self._followed: dict[Path, WatchedAcquisition] = {}
        # When to ask the folders above a new file again whether they are acquisitions.
        self._ask_again_at: dict[Path, float] = {}
        self._refused: set[Path] = set()
        # What the journal knew of a folder when this program first came upon it.
        self._known: dict[Path, str] = {}
        self._vanished: set[Path] = set()

    # Finding ----------------------------------------------------------------------------------

    def adopt(self, folder: Path, names: Collection[str]) -> bool:
        """Follow a folder from now on if, by its entries, it is an acquisition.

        Returns
        -------
        bool
            Whether it is one, or holds results of one: not to be looked into for files. What is
            adopted stays an acquisition whatever is put into it later.
        """
        if folder in self._followed:
            return True
        raw = acquisition_of_results(folder)
        if folder != self._root and raw is not None and self._is_acquisition(raw):
            return True
        found = recognised_by(folder, names, self._formats, self._known_format(folder))
        if found is None:
            return False
        if is_own_result(folder):
            return True
        try:
            following = Following(folder, found)
        except StackUnreadableError as error:  # a plug-in's, which failed at it
            self._refuse(folder, error)
            return True
        for inner in [f for f in self._followed if folder in f.parents]:
            # One position of it had been taken for a run of its own.
            self._followed.pop(inner).leave()
        self._followed[folder] = WatchedAcquisition(
            following,
            folder.relative_to(self._root),
            self._journal,
            self._pending,
            self._settings,
            self._callbacks,
            self._clock(),
        )
        self._vanished.discard(folder)
        log.info("acquisition found", folder=str(folder), format=found.name)
        return True

    def _known_format(self, folder: Path) -> str:
        """Return the name of the format that the journal knows a folder to have, "" if none."""
        if folder not in self._known:
            try:
                name = self._journal.acquisition_format(folder.relative_to(self._root))
            except JournalError:
                return ""  # the next scan asks again
            self._known[folder] = name
        return self._known[folder]

    def _refuse(self, folder: Path, error: StackUnreadableError) -> None:
        """Report once what is an acquisition, but cannot be followed."""
        if folder not in self._refused:
            self._refused.add(folder)
            key = StackKey(folder.relative_to(self._root))
            finding = Finding(Fingerprint(0, 0), State.REFUSED, error.reason)
            self._pending.add(key, finding)
            self._callbacks.on_bad(key, State.REFUSED)
            self._callbacks.warn(f"{key}: {error.reason}")
            log.warning("acquisition", stack_key=str(key), reason=error.reason)

    def adopt_above(self, path: Path) -> bool:
        """Adopt a folder above a file if it is an acquisition that has only just begun.

        Asked before a file is opened for the first time: file events come before the next scan.
        """
        for folder in reversed(path.parents[: len(path.relative_to(self._root).parts)]):
            now = self._clock()
            if now < self._ask_again_at.get(folder, -math.inf):
                continue
            try:
                files, folders = names_in(folder)
            except StackError:
                continue  # gone, or not to be listed just now; the next scan asks again
            rest_s = max(self._settings.watch.settle_s, _REST_PER_LISTING * (self._clock() - now))
            self._ask_again_at[folder] = now + rest_s
            if self.adopt(folder, [*files, *folders]):
                return True
        return False

    def ask_again(self) -> None:
        """Forget which folders were asked: the whole tree has been walked."""
        self._ask_again_at.clear()

    def forget_vanished(self) -> None:
        """Forget what waits of acquisitions that nobody follows, because their folders are gone.

        What was decided stays so. One that comes back is found anew.
        """
        for known in self._journal.acquisitions():
            folder = self._root / known.acquisition
            if folder in self._followed or folder in self._vanished or folder.exists():
                continue
            rows = self._journal.stacks_in(known.acquisition)
            for row in rows.values():
                if row.state in (State.WAITING, State.ARRIVING):
                    self._pending.add(row.key, Finding(row.fingerprint, None))
            if not any(row.state is State.RUNNING for row in rows.values()):
                self._vanished.add(folder)  # else what is in hand may be given back yet

    def _is_acquisition(self, folder: Path) -> bool:
        return folder in self._followed or (
            folder.is_dir()
            and acquisition_format_for(folder, self._formats, self._known_format(folder))
            is not None
        )

    def wake_if_inside(self, path: Path) -> bool:
        """Look soon at the acquisition that a path belongs to; return whether there is one.

        Results of an acquisition belong to it, too, and wake nothing.
        """
        for folder in (path, *path.parents):
            followed = self._followed.get(folder)
            if followed is not None:
                followed.clock.wake()
                return True
            raw = acquisition_of_results(folder)
            if raw is not None and raw in self._followed:
                return True
        return False

    # Looking ----------------------------------------------------------------------------------

    def poll(self, *, hurry: bool) -> float:
        """Look at every acquisition that is due; return when to do so again (s from now).

        ``hurry``: take a run for over after a short quiet.
        """
        for folder, followed in list(self._followed.items()):
            if self._callbacks.stopping():
                break
            began = self._clock()
            if began < followed.clock.next_look:
                continue
            try:
                followed.look(began, hurry=hurry)
            except StackChangedError:
                self._followed.pop(folder).leave()
                self._known.pop(folder, None)
                continue
            except StackUnreadableError as error:
                followed.trouble(began, State.REFUSED, error.reason)
            except StackBusyError as error:
                followed.trouble(began, State.ARRIVING, error.reason)
            followed.clock.looked(began, self._clock() - began)
        due = min((each.clock.next_look for each in self._followed.values()), default=math.inf)
        return max(due - self._clock(), BUSY_POLL_S)

    def undecided(self) -> int:
        """Return how many stacks only need a little more quiet to be decided about."""
        return sum(followed.undecided() for followed in self._followed.values())

    def reconsider(self, key: StackKey) -> bool:
        """A stack was not there as it was found; return whether it is one of ours."""
        followed = self._followed.get(self._root / key.acquisition)
        if key.index is None or followed is None:
            return False
        followed.reconsider(key.index)
        return True
