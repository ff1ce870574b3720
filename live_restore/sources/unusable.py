"""What of an acquisition cannot be used, all of it or single parts: recorded and reported once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import structlog

from live_restore.journal.states import State
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.stack import Fingerprint, StackKey

log = structlog.get_logger()

_NO_FINGERPRINT = Fingerprint(0, 0)


class Unusable:
    """Of one acquisition.

    Parameters
    ----------
    source
        Its folder, relative to the watched one.
    pending, callbacks
        Where findings go, and whom to report to.

    Attributes
    ----------
    undecided
        Whether something may still turn out to be lost: nothing is there yet, or less than is to
        be. The end of the run decides.
    """

    def __init__(self, source: Path, pending: PendingFindings, callbacks: Callbacks) -> None:
        self._source = source
        self._pending = pending
        self._callbacks = callbacks
        self._trouble = ""
        self._parts: dict[str, str] = {}
        self.undecided = True

    @property
    def altogether(self) -> bool:
        """Whether none of it can be used."""
        return bool(self._trouble)

    def refuse(self, state: State, reason: str) -> None:
        """Report that none of it can be used (REFUSED), or not just now (ARRIVING)."""
        if self._trouble != reason:
            self._trouble = reason
            self._pending.add(StackKey(self._source), Finding(_NO_FINGERPRINT, state, reason))
            # Counts as failed until it can be read after all: --once must not call it good.
            bad = state if state is State.REFUSED else State.FAILED
            self._callbacks.on_bad(StackKey(self._source), bad)
            log.warning("acquisition", stack_key=str(self._source), reason=reason)

    def accept(self) -> None:
        """It can be used (again)."""
        if self._trouble:
            self._trouble = ""
            self._pending.add(StackKey(self._source), Finding(_NO_FINGERPRINT, None))

    def refuse_parts(self, parts: Mapping[str, str]) -> None:
        """Report files and folders in it that cannot be read, by name; the others can (again)."""
        for name in self._parts.keys() - parts.keys():
            self._pending.add(StackKey(self._source / name), Finding(_NO_FINGERPRINT, None))
        for name, reason in parts.items():
            if self._parts.get(name) != reason:
                key = StackKey(self._source / name)
                told = f"{reason}; check the acquisition"
                self._pending.add(key, Finding(_NO_FINGERPRINT, State.REFUSED, told))
                self._callbacks.on_bad(key, State.REFUSED)
                log.warning("refused", stack_key=str(key), reason=reason)
        self._parts = dict(parts)
