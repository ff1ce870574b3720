"""What sources find out, on its way into the journal: in batches, and nothing is lost."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import JournalError, StackUnreadableError
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.sources.source import Callbacks
from live_restore.stack import Fingerprint, StackKey

# What is found is recorded in batches: each transaction waits for the disk (about 1 ms on an SSD).
# A batch is no larger, so that work begins while a large folder is still being looked through.
_BATCH_FINDINGS = 100
_BATCH_S = 0.25


@dataclass(frozen=True)
class Finding:
    """What the journal is to record about a file or a stack; without a state it is to forget it."""

    fingerprint: Fingerprint
    state: State | None
    reason: str = ""
    stacks: int = 0


class PendingFindings:
    """Findings that the journal has not taken yet.

    Parameters
    ----------
    journal
        Where they go.
    callbacks
        Whom to tell of a finding that no journal can take.
    clock
        The time (monotonic s).
    """

    def __init__(self, journal: Journal, callbacks: Callbacks, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._callbacks = callbacks
        self._clock = clock
        self._findings: dict[StackKey, Finding] = {}
        self._acquisitions: dict[Path, tuple[str, str]] = {}
        self._recorded_at = -math.inf

    def add(self, key: StackKey, finding: Finding) -> None:
        """Take a finding; the last one about a key counts."""
        self._findings.pop(key, None)  # the order is that of completion
        self._findings[key] = finding
        due = self._clock() - self._recorded_at > _BATCH_S
        if due or len(self._findings) % _BATCH_FINDINGS == 0:
            with contextlib.suppress(JournalError):  # raised where the poll ends
                self.record()

    def add_acquisition(self, acquisition: Path, format_name: str, note: str) -> None:
        """Take what was found out about a whole acquisition; see ``record_acquisition``."""
        self._acquisitions[acquisition] = format_name, note

    def record(self) -> None:
        """Record them; what the disk refuses is kept for the next time.

        Raises
        ------
        JournalError
            It refuses.
        """
        self._recorded_at = self._clock()
        if not self._findings and not self._acquisitions:
            return
        impossible: dict[StackKey, StackUnreadableError] = {}
        with self._journal.batch():
            for acquisition, (format_name, note) in self._acquisitions.items():
                self._journal.record_acquisition(acquisition, format_name, note)
            for key, finding in self._findings.items():
                try:
                    self._record(key, finding)
                except StackUnreadableError as error:  # one row must not cost the others theirs
                    impossible[key] = error
        self._findings, self._acquisitions = {}, {}
        for key, why in impossible.items():
            self._callbacks.on_bad(key, State.FAILED)
            self._callbacks.warn(f"{key}: {why.reason}")

    def _record(self, key: StackKey, finding: Finding) -> None:
        if finding.state is None:
            self._journal.forget(key)
        else:
            self._journal.record(
                key, finding.fingerprint, finding.state, finding.reason, finding.stacks
            )

    def is_incomplete(self, key: StackKey) -> bool:
        """Return whether something was decided to be incomplete."""
        finding: Finding | Entry | None = self._findings.get(key) or self._journal.entry(key)
        return finding is not None and finding.state is State.INCOMPLETE

    def settled(self, key: StackKey) -> Fingerprint | None:
        """Return what something was like when it was decided about, ``None`` if it never was."""
        finding = self._findings.get(key)
        if finding is not None:
            return None if finding.state in (None, State.ARRIVING) else finding.fingerprint
        entry = self._journal.entry(key)
        if entry is None or entry.state is State.ARRIVING or entry.growing:
            return None
        return entry.fingerprint
