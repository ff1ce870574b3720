"""The data sets under a watched folder: which folders are one, and when each is looked at.

A folder that some format claims is one data set, and is not looked into for single files.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import structlog

from live_restore.errors import StackBusyError, StackChangedError, StackUnreadableError
from live_restore.files.naming import acquisition_of_results
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.following import Following
from live_restore.formats.table import acquisition_format_for, recognised_by
from live_restore.journal.journal import Journal, State
from live_restore.outputs.table import is_own_result
from live_restore.settings.model import Settings
from live_restore.sources.pending import PendingRecords
from live_restore.sources.watched_acquisition import BUSY_POLL_S, WatchedAcquisition
from live_restore.stack import StackIndex

log = structlog.get_logger()


class Acquisitions:
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
        formats: Sequence[AcquisitionFormat],
        journal: Journal,
        pending: PendingRecords,
        settings: Settings,
        on_bad: Callable[[Path, State], None],
        warn: Callable[[str], None],
        clock: Callable[[], float],
    ) -> None:
        self._root = root
        self._formats = formats
        self._journal = journal
        self._pending = pending
        self._settings = settings
        self._on_bad = on_bad
        self._warn = warn
        self._clock = clock
        self._followed: dict[Path, WatchedAcquisition] = {}

    # Finding --------------------------------------------------------------------------------------

    def recognises(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether a folder of these entries is a data set, or holds results of one.

        A data set is followed from now on, and stays one whatever is put into it later.
        """
        if folder in self._followed:
            return True
        raw = acquisition_of_results(folder)
        if folder != self._root and raw is not None and self._is_acquisition(raw):
            return True
        found = recognised_by(folder, names, self._formats)
        if found is None:
            return False
        if is_own_result(folder):
            return True
        for inner in [f for f in self._followed if folder in f.parents]:
            # One position of it had been taken for a run of its own.
            self._followed.pop(inner).leave()
        self._followed[folder] = WatchedAcquisition(
            Following(folder, found),
            folder.relative_to(self._root),
            self._journal,
            self._pending,
            self._settings,
            self._on_bad,
            self._warn,
            self._clock(),
        )
        log.info("data set found", folder=str(folder), format=found.name)
        return True

    def _is_acquisition(self, folder: Path) -> bool:
        return folder in self._followed or (
            folder.is_dir() and acquisition_format_for(folder, self._formats) is not None
        )

    def holds(self, path: Path) -> bool:
        """Return whether a path is part of a data set, which is looked at soon, or a result."""
        for folder in (path, *path.parents):
            followed = self._followed.get(folder)
            if followed is not None:
                followed.wake()
                return True
            raw = acquisition_of_results(folder)
            if raw is not None and raw in self._followed:
                return True
        return False

    # Looking --------------------------------------------------------------------------------------

    def poll(self, *, hurry: bool, stopping: Callable[[], bool]) -> float:
        """Look at every data set that is due; return when to do so again (s from now).

        ``hurry``: take a run for over after a short quiet.
        """
        for folder, dataset in list(self._followed.items()):
            if stopping():
                break
            began = self._clock()
            if began < dataset.next_look:
                continue
            try:
                dataset.look(began, hurry=hurry)
            except StackChangedError:
                self._followed.pop(folder).leave()
                continue
            except StackUnreadableError as error:
                dataset.trouble(began, State.REFUSED, error.reason)
            except StackBusyError as error:
                dataset.trouble(began, State.ARRIVING, error.reason)
            dataset.looked(began, self._clock() - began)
        due = min((each.next_look for each in self._followed.values()), default=math.inf)
        return max(due - self._clock(), BUSY_POLL_S)

    def undecided(self) -> int:
        """Return how many stacks only need a little more quiet to be decided about."""
        return sum(dataset.undecided() for dataset in self._followed.values())

    def reconsider(self, source: Path) -> bool:
        """A stack was not there as it was found; return whether it is one of ours."""
        stack_index = StackIndex.from_label(source.name)
        dataset = self._followed.get(self._root / source.parent)
        if stack_index is None or dataset is None:
            return False
        dataset.reconsider(stack_index)
        return True
