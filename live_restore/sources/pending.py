"""What sources find out, on its way into the journal: in batches, and nothing is lost."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import JournalError
from live_restore.journal.journal import Journal, State
from live_restore.stack import Fingerprint

# What is found is recorded in batches: each transaction waits for the disk (about 1 ms on an SSD).
# A batch is no larger, so that work begins while a large folder is still being looked through.
_BATCH_FILES = 100
_BATCH_S = 0.25


@dataclass(frozen=True)
class Finding:
    """What the journal is to record about a source; without a state it is to forget it."""

    fingerprint: Fingerprint
    state: State | None
    reason: str = ""
    stacks: int = 0


class PendingRecords:
    """Notes that the journal has not taken yet.

    Parameters
    ----------
    journal
        Where they go.
    clock
        The time (monotonic s).
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._pending: dict[Path, Finding] = {}
        self._recorded_at = -math.inf

    def add(self, source: Path, note: Finding) -> None:
        """Take a note; the last one about a source counts."""
        self._pending.pop(source, None)  # the order is that of completion
        self._pending[source] = note
        due = self._clock() - self._recorded_at > _BATCH_S
        if due or len(self._pending) % _BATCH_FILES == 0:
            with contextlib.suppress(JournalError):  # raised where the poll ends
                self.record()

    def record(self) -> None:
        """Record them; what the disk refuses is kept for the next time.

        Raises
        ------
        JournalError
            It refuses.
        """
        self._recorded_at = self._clock()
        if self._pending:
            with self._journal.batch():
                for source, note in self._pending.items():
                    if note.state is None:
                        self._journal.forget(source)
                    else:
                        self._journal.note(
                            source, note.fingerprint, note.state, note.reason, note.stacks
                        )
            self._pending = {}

    def settled(self, source: Path) -> Fingerprint | None:
        """Return what a source was like when it was decided about, ``None`` if it never was."""
        note = self._pending.get(source)
        if note is not None:
            return None if note.state in (None, State.ARRIVING) else note.fingerprint
        entry = self._journal.entry(source)
        if entry is None or entry.state is State.ARRIVING:
            return None
        return entry.fingerprint
