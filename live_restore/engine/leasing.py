"""Leasing: the next entry of the journal that may be worked on now."""

from __future__ import annotations

import threading
from collections.abc import Callable

from live_restore.engine.backoff import Backoff
from live_restore.engine.control import Orders
from live_restore.engine.disk_space import DiskSpace
from live_restore.engine.in_hand import InHand
from live_restore.engine.jobs import Jobs
from live_restore.engine.retry import Deferrals
from live_restore.errors import JournalError
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.stack import StackKey

_TICK_S = 0.1
_LONGEST_PAUSE_S = 1.0


class Leasing:
    """Leases one entry after the other; each counts as in hand until its outcome is recorded.

    Parameters
    ----------
    journal, lease_s
        Where work waits, and how long a lease lasts without renewal (s).
    jobs
        Tell where results go.
    in_hand, deferrals, disk_space, backoff, orders
        What keeps from leasing, and which goes first.
    stopping
        Whether a stop is asked for.
    """

    def __init__(
        self,
        journal: Journal,
        lease_s: float,
        jobs: Jobs,
        in_hand: InHand,
        deferrals: Deferrals,
        disk_space: DiskSpace,
        backoff: Backoff,
        orders: Orders,
        stopping: Callable[[], bool],
    ) -> None:
        self._journal = journal
        self._lease_s = lease_s
        self._jobs = jobs
        self._in_hand = in_hand
        self._deferrals = deferrals
        self._disk_space = disk_space
        self._backoff = backoff
        self._orders = orders
        self._stopping = stopping

    def next(self) -> Entry | None:
        """Lease and return the next entry; ``None`` where nothing can be leased just now.

        Raises
        ------
        JournalError
            The journal cannot be asked, and nothing is tried again.
        """
        alone = self._in_hand.begin()
        entry = None
        # Who tries each only once does not wait for a disk to recover.
        rests = self._deferrals.retry and self._disk_space.any_rests()
        try:
            entry = self._journal.lease(
                self._lease_s,
                self._deferrals.not_yet() | self._in_hand.keys(),
                resting=self._disk_is_resting if rests else None,
                alone=alone,
                newest_first=self._orders.newest_first,
            )
            if entry is not None:  # else nothing was written
                self._in_hand.took(entry.key)
                self._backoff.accepted()
        except JournalError as error:
            if not self._deferrals.retry:
                raise
            self._pause(min(self._backoff.refused(error), _LONGEST_PAUSE_S))
        finally:
            if entry is None:
                self._in_hand.end()
        return entry

    def _pause(self, seconds: float) -> None:
        pause = threading.Event()
        while seconds > 0 and not self._stopping():
            pause.wait(min(seconds, _TICK_S))
            seconds -= _TICK_S

    def _disk_is_resting(self, key: StackKey) -> bool:
        return self._disk_space.is_resting(self._jobs.results_folder(key))
